/*
 * http.c
 *		One HTTP POST for each event, over one connection that is kept.
 *
 * What a status means: 2xx, taken; 408, 425, 429 and 5xx, and whatever keeps the request from an
 * answer, pass by themselves; every other status is the event's or the configuration's fault.
 */
#include "openlineage/openlineage.h"

#include <curl/curl.h>

#include "common/logging.h"

/* So much of an answer is shown. */
#define ANSWER_SIZE 1000

static CURL *curl;
static struct curl_slist *headers;
static char answer[ANSWER_SIZE + 1];
static size_t answer_length;
static char reason_text[ANSWER_SIZE + CURL_ERROR_SIZE + 100];
static char error_text[CURL_ERROR_SIZE];

static size_t keep_answer(char *data, size_t size, size_t count, void *arg);
static void add_header(const char *text);

void
wh_openlineage_http_init(const WhOpenlineageOptions *options)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || (curl = curl_easy_init()) == NULL)
		pg_fatal("could not set up HTTP");
	add_header("Content-Type: application/json");
	/* Without this curl asks first whether a large event may come. */
	add_header("Expect:");
	if (options->key != NULL)
		add_header(psprintf("Authorization: Bearer %s", options->key));
	curl_easy_setopt(curl, CURLOPT_URL, options->url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) options->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error_text);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep_answer);
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "walhouse_openlineage/" WALHOUSE_VERSION);
}

static void
add_header(const char *text)
{
	headers = curl_slist_append(headers, text);
	if (headers == NULL)
		pg_fatal("out of memory");
}

WhOpenlineageAnswer
wh_openlineage_send(const char *event, const char **reason)
{
	CURLcode code;
	long status = 0;

	answer_length = 0;
	error_text[0] = '\0';
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, event);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) strlen(event));
	code = curl_easy_perform(curl);
	answer[answer_length] = '\0';
	*reason = reason_text;
	if (code != CURLE_OK)
	{
		snprintf(reason_text, sizeof(reason_text), "%s",
				 error_text[0] != '\0' ? error_text : curl_easy_strerror(code));
		return WH_OPENLINEAGE_FAILED;
	}
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status >= 200 && status < 300)
		return WH_OPENLINEAGE_TAKEN;
	snprintf(reason_text, sizeof(reason_text), "HTTP status %ld%s%s", status,
			 answer_length > 0 ? ": " : "", answer);
	if (status == 408 || status == 425 || status == 429 || status >= 500)
		return WH_OPENLINEAGE_FAILED;
	return WH_OPENLINEAGE_REFUSED;
}

static size_t
keep_answer(char *data, size_t size, size_t count, void *arg)
{
	size_t length = Min(size * count, ANSWER_SIZE - answer_length);

	memcpy(answer + answer_length, data, length);
	answer_length += length;
	return size * count;
}

void
wh_openlineage_http_end(void)
{
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	curl_global_cleanup();
}
