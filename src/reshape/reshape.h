/*
 * reshape.h
 *		Tables and partitions changed while they are used: conversion, split, merge.
 */
#ifndef WH_RESHAPE_H
#define WH_RESHAPE_H

/* wh_reshape_init has the partition room forget what was under way with tables that are gone. */
extern void wh_reshape_init(void);

#endif /* WH_RESHAPE_H */
