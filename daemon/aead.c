// SPDX-License-Identifier: MIT
#include "aead.h"

#include <stddef.h>

const struct aead_engine *const aead_engines[] = {&aead_sodium, NULL};

const struct aead_engine *aead_pick(void)
{
	const struct aead_engine *const *engine;

	for (engine = aead_engines; *engine; engine++)
		if ((*engine)->usable())
			return *engine;
	return &aead_sodium;
}
