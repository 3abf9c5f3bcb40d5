#!/bin/sh
# What install(1) calls as strip: symbols that the dynamic linker does not need go, so that a library keeps its entry points.
exec strip --strip-unneeded "$@"
