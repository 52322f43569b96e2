// SPDX-License-Identifier: MIT
/*
 * Theory of operation
 *
 * Counter c has bit c % 64 of word (c / 64) % REPLAY_WORDS. A counter above all others
 * moves the window on. Then the words after the newest word so far, up to the new
 * counter's, are cleared, so that the ring holds no bits of an earlier lap. The ring has
 * one word more than the window's 8192 bits need. So no two counters of the window share
 * a bit, even if the window begins in the middle of a word.
 */
#include "replay.h"

static void clear_skipped_words(struct replay *r, uint64_t counter)
{
	uint64_t newest = r->next ? (r->next - 1) / 64 : 0;
	uint64_t ahead = counter / 64 - newest;
	uint64_t i;

	if (ahead > REPLAY_WORDS)
		ahead = REPLAY_WORDS;
	for (i = 1; i <= ahead; i++)
		r->seen[(newest + i) % REPLAY_WORDS] = 0;
}

bool replay_check_and_update(struct replay *r, uint64_t counter)
{
	uint64_t *word = &r->seen[counter / 64 % REPLAY_WORDS];
	uint64_t bit = 1ULL << counter % 64;

	if (counter >= WG_REJECT_AFTER_MESSAGES)
		return false;
	if (counter >= r->next) {
		clear_skipped_words(r, counter);
		r->next = counter + 1;
	} else if (r->next - counter > WG_REPLAY_WINDOW) {
		return false;
	}
	if (*word & bit)
		return false;
	*word |= bit;
	return true;
}
