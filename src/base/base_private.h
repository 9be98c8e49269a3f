/*
 * base_private.h
 *		What the files of base/ share.
 */
#ifndef WH_BASE_PRIVATE_H
#define WH_BASE_PRIVATE_H

#include "base/base.h"

/* wh_spi_copy_result copies SPI's current result into a memory context. */
extern WhRows *wh_spi_copy_result(MemoryContext context);

#endif /* WH_BASE_PRIVATE_H */
