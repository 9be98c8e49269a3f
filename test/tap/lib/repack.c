/*
 * repack.c
 *		Is a file of delimited batches byte for byte what protobuf-c makes of it?
 *
 * Reads standard input; each batch must unpack with the generated code and pack to the same
 * bytes. Prints the number of batches and their bytes, or what is wrong.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/walhouse.pb-c.h"

static int
read_length(size_t *len)
{
	int shift = 0;
	int c;

	*len = 0;
	do
	{
		c = getchar();
		if (c == EOF)
			return 0;
		*len |= (size_t) (c & 0x7F) << shift;
		shift += 7;
	} while (c >= 0x80);
	return 1;
}

int
main(void)
{
	size_t len;
	size_t bytes = 0;
	int batches = 0;

	while (read_length(&len))
	{
		unsigned char *data = malloc(len + 1);
		unsigned char *packed = malloc(len + 1);
		Walhouse__V1__Batch *batch;

		if (fread(data, 1, len, stdin) != len)
		{
			printf("batch %d is cut\n", batches);
			return 1;
		}
		batch = walhouse__v1__batch__unpack(NULL, len, data);
		if (batch == NULL)
		{
			printf("batch %d does not unpack\n", batches);
			return 1;
		}
		if (walhouse__v1__batch__get_packed_size(batch) != len ||
			walhouse__v1__batch__pack(batch, packed) != len || memcmp(data, packed, len) != 0)
		{
			printf("batch %d packs to other bytes\n", batches);
			return 1;
		}
		walhouse__v1__batch__free_unpacked(batch, NULL);
		free(data);
		free(packed);
		batches++;
		bytes += len;
	}
	printf("%d batches, %zu bytes\n", batches, bytes);
	return 0;
}
