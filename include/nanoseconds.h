/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Units of time, for the BPF programs and the daemon. */
#ifndef NANOSECONDS_H
#define NANOSECONDS_H

#define NS_PER_SEC 1000000000ULL
#define NS_PER_MS  1000000ULL

#endif
