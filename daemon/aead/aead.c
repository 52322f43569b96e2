// SPDX-License-Identifier: MIT
#include "aead.h"

int aead_begin(struct aead *aead, const struct aead_engine *engine)
{
	*aead = (struct aead){.engine = engine};
	return engine->begin ? engine->begin(&aead->state) : 0;
}

void aead_end(struct aead *aead)
{
	if (aead->engine && aead->engine->end)
		aead->engine->end(aead->state);
	*aead = (struct aead){0};
}
