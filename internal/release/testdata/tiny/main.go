// Command tiny stands for the program in tests: it builds in a second and has one module to list.
package main

import "golang.org/x/mod/semver"

func main() { println(semver.Major("v1.2.3")) }
