/*
 * numeric.c
 *		From PostgreSQL's stored numeric to an integer and a scale.
 *
 * A numeric is stored as digits in base 10,000 with a weight (the power of 10,000 of the first
 * digit) and a display scale.  The layout is part of what pg_upgrade keeps, so it is read here
 * directly: numeric_out for each value costs several times as much.  Reading digit for digit is
 * exact; what does not fit 64 bits is left to numeric_out.
 */
#include "c.h"

#include "wire/encode.h"

#define SIGN_MASK 0xC000
#define SIGN_NEGATIVE 0x4000
#define FORMAT_SHORT 0x8000
#define FORMAT_SPECIAL 0xC000
#define SHORT_NEGATIVE 0x2000
#define SHORT_WEIGHT_SIGN 0x0040
#define SHORT_WEIGHT_MASK 0x003F
#define LONG_SCALE_MASK 0x3FFF

#define BASE 10000
#define BASE_DIGITS 4

static bool scale_digits(const uint16_t *digits, int ndigits, int weight, int scale,
						 uint64_t *value);
static bool multiply_power(uint64_t *value, int exponent);

bool
wh_wire_numeric_from_disk(const void *data, size_t len, int64_t *unscaled, uint32_t *scale)
{
	const char *at = data;
	uint16_t header;
	uint16_t digits[8];
	int weight;
	int ndigits;
	bool is_negative;
	uint64_t value;

	if (len < sizeof(header))
		return false;
	memcpy(&header, at, sizeof(header));
	at += sizeof(header);
	len -= sizeof(header);

	if ((header & SIGN_MASK) == FORMAT_SPECIAL)
		return false;
	if ((header & SIGN_MASK) == FORMAT_SHORT)
	{
		is_negative = (header & SHORT_NEGATIVE) != 0;
		*scale = (header & 0x1F80) >> 7;
		weight = header & SHORT_WEIGHT_MASK;
		if (header & SHORT_WEIGHT_SIGN)
			weight |= ~SHORT_WEIGHT_MASK;
	}
	else
	{
		int16_t stored;

		if (len < sizeof(stored))
			return false;
		memcpy(&stored, at, sizeof(stored));
		at += sizeof(stored);
		len -= sizeof(stored);
		is_negative = (header & SIGN_MASK) == SIGN_NEGATIVE;
		*scale = header & LONG_SCALE_MASK;
		weight = stored;
	}

	/*
	 * 64 bits hold at most 20 decimal digits: six of these digits, stored without leading or
	 * trailing zeros.
	 */
	ndigits = (int) (len / sizeof(uint16_t));
	if (ndigits > (int) lengthof(digits))
		return false;
	memcpy(digits, at, ndigits * sizeof(uint16_t));
	if (!scale_digits(digits, ndigits, weight, (int) *scale, &value))
		return false;
	if (value > (uint64_t) INT64_MAX + (is_negative ? 1 : 0))
		return false;
	*unscaled = (int64_t) (is_negative ? ~value + 1 : value);
	return true;
}

/*
 * scale_digits computes the digits' value times 10^scale.  Returns false when that is no integer
 * of 64 bits.
 */
static bool
scale_digits(const uint16_t *digits, int ndigits, int weight, int scale, uint64_t *value)
{
	int exponent = scale;

	*value = 0;
	for (int i = 0; i < ndigits; i++)
	{
		uint64_t digit = digits[i];
		int shift = BASE_DIGITS;

		/* the power of ten that this digit's last decimal stands for */
		exponent = BASE_DIGITS * (weight - i) + scale;
		if (digit >= BASE)
			return false;
		for (; exponent < 0 && shift > 0; exponent++, shift--)
		{
			if (digit % 10 != 0)
				return false;
			digit /= 10;
		}
		if (exponent < 0 && digit != 0)
			return false;
		if (!multiply_power(value, shift))
			return false;
		if (__builtin_add_overflow(*value, digit, value))
			return false;
	}
	return ndigits == 0 || exponent <= 0 || multiply_power(value, exponent);
}

static bool
multiply_power(uint64_t *value, int exponent)
{
	if (*value == 0)
		return true;
	for (; exponent > 0; exponent--)
	{
		if (__builtin_mul_overflow(*value, (uint64_t) 10, value))
			return false;
	}
	return true;
}
