# walhouse: two server libraries and a client program, from one make and one make install.
#   make, make install      build and install for the PostgreSQL that PG_CONFIG names
#   make help               every target with a line of help

PG_CONFIG ?= pg_config

# The version stands in walhouse.control alone.
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" walhouse.control)

# src/rooms says which rooms there are and in which order they are linked and their SQL is joined.
ROOMS := $(shell sed -n 's/^\([a-z]*\):.*/\1/p' src/rooms)
OUTPUT_ROOMS := wire base output
MAIN_ROOMS := $(filter-out output client,$(ROOMS))

room_objs = $(patsubst %.c,%.o,$(wildcard $(foreach r,$(1),src/$(r)/*.c)))
ROOM_SQL := $(wildcard $(foreach r,$(ROOMS),src/$(r)/$(r).sql))
HEADERS := $(wildcard src/*/*.h)

MODULE_big = walhouse
OBJS = src/walhouse.o $(call room_objs,$(MAIN_ROOMS))
OUTPUT_OBJS = $(call room_objs,$(OUTPUT_ROOMS))
CLIENT_OBJS = $(call room_objs,client)

EXTENSION = walhouse
DATA_built = build/walhouse--$(EXTVERSION).sql

PG_CPPFLAGS = -I$(CURDIR)/src -I$(libpq_srcdir) -DWALHOUSE_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Wno-cast-function-type -fvisibility=hidden
WALHOUSE_LDFLAGS = -Wl,-Bsymbolic
SHLIB_LINK = $(WALHOUSE_LDFLAGS) $(libpq) -lprotobuf-c

EXTRA_CLEAN = build walhouse_output$(DLSUFFIX) walhouse_recv $(OUTPUT_OBJS) $(CLIENT_OBJS) $(OUTPUT_OBJS:.o=.bc) \
	$(OBJS:.o=.bc)

PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

all: walhouse_output$(DLSUFFIX) walhouse_recv

# Debian builds PostgreSQL without autodepend: every object depends on every header.
$(OBJS) $(OUTPUT_OBJS) $(CLIENT_OBJS): $(HEADERS)

walhouse_output$(DLSUFFIX): $(OUTPUT_OBJS)
	$(CC) $(CFLAGS) $(OUTPUT_OBJS) $(LDFLAGS) $(LDFLAGS_SL) $(WALHOUSE_LDFLAGS) -lprotobuf-c -shared -o $@

build/walhouse--$(EXTVERSION).sql: src/preamble.sql $(ROOM_SQL) src/rooms walhouse.control
	mkdir -p build
	cat src/preamble.sql $(ROOM_SQL) > $@
