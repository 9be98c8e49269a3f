#ifndef LOW_H
#define LOW_H

extern int wh_low_answer(int question);

#endif
