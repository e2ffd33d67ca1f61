package report

import (
	"regexp"
	"strings"

	"ringfence.dev/ringfence/finding"
)

// order is how a build service is told what to do by a line of a log: "##[" of GitHub, "##vso[" of Azure, "##teamcity[".
// They are obeyed wherever they stand in a line. Another word of GitHub, "::", is obeyed at its start alone.
var order = regexp.MustCompile(`##[A-Za-z]*\[`)

// Inert makes text from outside fit to be printed where a build service reads along: on one line, without control
// characters, and without the words that such a service obeys.
func Inert(s string) string {
	s = finding.Clean(s)
	if strings.HasPrefix(strings.TrimLeft(s, " "), "::") {
		s = strings.Replace(s, "::", "\uFFFD:", 1)
	}
	if strings.Contains(s, "##") {
		s = order.ReplaceAllStringFunc(s, func(o string) string { return "#\uFFFD" + o[2:] })
	}
	return s
}
