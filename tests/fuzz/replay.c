/* SPDX-License-Identifier: MIT */
/*
 * Runs the fuzz target that it is linked with on each file of tests/fuzz/corpus/NAME, where the
 * program is fuzz_NAME, as one test. An input that once found a fault stays there, so make check sees
 * that fault if it comes back. Runs in the project's directory.
 */
#include <dirent.h>
#include <limits.h>

#include "fuzz.h"

#define MOST (1 << 20) /* bytes of an input */

static void replay_file(const char *path)
{
	static uint8_t data[MOST];
	FILE *f = fopen(path, "rb");
	size_t len;

	CHECK(f);
	len = fread(data, 1, sizeof(data), f);
	fclose(f);
	LLVMFuzzerTestOneInput(data, len);
}

static unsigned replay_directory(const char *directory)
{
	char path[PATH_MAX + sizeof(((struct dirent *)0)->d_name)];
	struct dirent *entry;
	DIR *d = opendir(directory);
	unsigned n = 0;

	CHECK(d);
	while ((entry = readdir(d))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		replay_file(path);
		n++;
	}
	closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '/');
	char directory[PATH_MAX];
	unsigned n;

	name = name ? name + 1 : argv[0];
	snprintf(directory, sizeof(directory), "tests/fuzz/corpus/%s",
		 name + strlen("fuzz_"));
	printf("1..1\n");
	n = replay_directory(directory);
	CHECK(n);
	printf("ok 1 - %u inputs of %s\n", n, directory);
	return 0;
}
