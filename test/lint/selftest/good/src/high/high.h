#ifndef HIGH_H
#define HIGH_H

extern int wh_high_answer(void);

#endif
