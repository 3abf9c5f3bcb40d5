#include "CHatchery.h"

#include <stdio.h>

void hatchery_buffer_stdout_by_line(void) { setvbuf(stdout, NULL, _IOLBF, 0); }
