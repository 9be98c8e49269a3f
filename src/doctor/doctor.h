/*
 * doctor.h
 *		What is wrong, and what mends it.  Nobody depends on this room.
 */
#ifndef WH_DOCTOR_H
#define WH_DOCTOR_H

extern void wh_doctor_init(void);

#endif /* WH_DOCTOR_H */
