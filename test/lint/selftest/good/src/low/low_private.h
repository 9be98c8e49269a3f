#ifndef LOW_PRIVATE_H
#define LOW_PRIVATE_H
#endif
