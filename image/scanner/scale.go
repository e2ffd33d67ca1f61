package scanner

import (
	"strconv"
	"strings"
)

// The bank's scale has five steps, 5 the worst; 0 says that the scanner names none. docs/image-reports.md shows the table.

// word is the bank's step for the words that scanners use. Sources: CVSS 3.1 section 5 and 4.0 section 6 (None, Low, Medium, High,
// Critical); Red Hat's severity ratings (Important, Moderate); Debian's and Ubuntu's trackers (Negligible, Unimportant); Clair's
// (Defcon1, above Critical); Amazon Inspector's (Informational, Untriaged) and ECR's (Undefined); Black Duck's (OK).
func word(s string) int {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "critical", "defcon1":
		return 5
	case "high", "important":
		return 4
	case "medium", "moderate":
		return 3
	case "low", "minor":
		return 2
	case "negligible", "unimportant", "informational", "info", "none", "ok":
		return 1
	}
	return 0
}

// cvss is the bank's step for a CVSS score: the ranges of CVSS 3.1 section 5. Scores of version 2 are read alike, so that
// 9.0 to 10 is 5, where version 2 itself has no word above High.
func cvss(score float64) int {
	switch {
	case score >= 9 && score <= 10:
		return 5
	case score >= 7 && score < 9:
		return 4
	case score >= 4 && score < 7:
		return 3
	case score > 0 && score < 4:
		return 2
	case score == 0:
		return 1
	}
	return 0
}

// worded is the step for what may be a word or a score, and what the scanner said.
func worded(said ...string) (int, string) {
	for _, s := range said {
		if step := word(s); step > 0 {
			return step, s
		}
		if score, err := strconv.ParseFloat(s, 64); err == nil {
			if step := cvss(score); step > 0 {
				return step, s
			}
		}
	}
	for _, s := range said {
		if s != "" {
			return 0, s // a word outside the table, for instance UNKNOWN
		}
	}
	return 0, ""
}

// level is the step for a level of SARIF 2.1.0 section 3.27.10. Trivy writes error for CRITICAL and HIGH alike, so that error alone
// is a 4.
func level(s string) int {
	switch s {
	case "error":
		return 4
	case "warning", "": // the default of the standard
		return 3
	case "note":
		return 2
	case "none":
		return 1
	}
	return 0
}
