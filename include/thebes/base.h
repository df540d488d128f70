/* SPDX-License-Identifier: Apache-2.0 */
/* base — the ground that every room stands on: errors, assertions, memory, bytes, containers. No broker words in here. */
#ifndef THEBES_BASE_H
#define THEBES_BASE_H

#include "thebes/base/assert.h"
#include "thebes/base/err.h"
#include "thebes/base/mem.h"
#include "thebes/base/slice.h"
#include "thebes/base/list.h"
#include "thebes/base/heap.h"
#include "thebes/base/map.h"
#include "thebes/base/crc.h"
#include "thebes/base/units.h"

#endif
