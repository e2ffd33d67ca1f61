// Package archtest reads the repository as text and Go syntax and holds it to a Law: sizes, names, comments, import edges.
//
// It compiles nothing, fetches nothing and knows no rule of this house: the numbers, lists and exceptions are the caller's.
// repo_test.go at the root of the repository calls it; the tests of cli read pages with it, to try the commands in them.
package archtest
