/*
 * compat.h
 *		Differences between PostgreSQL 15 and 18: the one place that looks at PG_VERSION_NUM.
 *
 * Each entry names the version that changed.  Code elsewhere is written once, with the newest server's names or with a
 * wh_compat_ function of this file.
 */
#ifndef WH_COMPAT_H
#define WH_COMPAT_H

#include "utils/regproc.h"

#if PG_VERSION_NUM < 150000
#error "walhouse needs PostgreSQL 15 or later"
#endif

/* 16: a second argument, for soft errors */
#if PG_VERSION_NUM >= 160000
#define wh_compat_qualified_name_list(string) stringToQualifiedNameList((string), NULL)
#else
#define wh_compat_qualified_name_list(string) stringToQualifiedNameList(string)
#endif

#endif /* WH_COMPAT_H */
