#include <seccomp.h>
// struct sock_filter, which a filter is made of.
#include <linux/filter.h>
