// Package control holds what must be true: the Control type and the catalogue, loaded from folders of data.
//
// It compiles and judges nothing (package policy does) and knows no Kubernetes types. Everything that names, explains,
// installs or evaluates a rule reads its Control.
package control

import (
	"fmt"
	"regexp"

	"ringfence.dev/ringfence/finding"
)

// Control is something that must be true. One folder of the catalogue is one Control.
type Control struct {
	// ID is the stable name, RF-<group>-<number>. It is never reused.
	ID string `json:"id"`
	// Title is the rule in a few words, as a refusal shows it.
	Title string `json:"title"`
	// Severity is how much harm a Fail can do.
	Severity finding.Severity `json:"severity"`
	// Why says what an attacker gains where the rule does not hold.
	Why string `json:"why"`
	// Wanted is what a passing object has, and Fix how to get there; both end a refusal line.
	Wanted string `json:"wanted"`
	Fix    string `json:"fix"`
	// Maturity is detective, preventive or auto-remediating.
	Maturity string `json:"maturity"`
	// Default is the action where no profile says otherwise, and Profiles the action of each profile.
	Default  finding.Action            `json:"default"`
	Profiles map[string]finding.Action `json:"profiles"`
	// Remedy is what Ringfence itself does to what runs, EvictDebugged or "" for nothing.
	Remedy string `json:"remedy,omitempty"`
	// Told is the key under which the audit log tells all that is found, whole: UnsignedImages, or "" for what a refusal line says of it.
	Told string `json:"told,omitempty"`
	// Groups are the match groups the control judges; see Groups.
	Groups []string `json:"groups"`
	// Kinds are the kinds judged of those in Groups; empty means all of them.
	Kinds []string `json:"kinds,omitempty"`
	// Sources are the documents that ask for it.
	Sources []Source `json:"sources"`

	// Dir is the folder in the catalogue, for instance pod/no-privileged. Its last element names the rule.
	Dir string `json:"-"`
	// Policy is the bytes of policy.yaml, a ValidatingAdmissionPolicy.
	Policy []byte `json:"-"`
	// Variables are the control's own variables of policy.yaml, FoundVariable among them.
	Variables []Variable `json:"-"`
	// Fixes are the repairs that fix.yaml states; none for a control whose repair needs a person.
	Fixes []Fix `json:"-"`
	// Mapping is the clauses of each framework that the control serves, by the framework's folder.
	Mapping map[string][]string `json:"-"`
}

// EvictDebugged as a Remedy evicts a pod whose ephemeral containers have been there long enough, where the control denies.
const EvictDebugged = "evict-debugged"

// UnsignedImages as Told is that what is found are images without a signature that counts.
const UnsignedImages = "unsigned-images"

// Source is where a rule comes from.
type Source struct {
	Document  string `json:"document"`
	Section   string `json:"section"`
	URL       string `json:"url"`
	Retrieved string `json:"retrieved"`
}

// Rule is the last element of Dir, the name of the rule within findings.
func (c Control) Rule() string {
	for i := len(c.Dir) - 1; i >= 0; i-- {
		if c.Dir[i] == '/' {
			return c.Dir[i+1:]
		}
	}
	return c.Dir
}

// Action is the control's action under a profile: the profile's, else the catalogue's default, else Deny.
func (c Control) Action(profile string) finding.Action {
	if a, ok := c.Profiles[profile]; ok {
		return a
	}
	if c.Default != "" {
		return c.Default
	}
	return finding.Deny
}

var idPattern = regexp.MustCompile(`^RF-[A-Z]{2}-[0-9]{2}$`)

// ValidID reports whether id has the form of a control id.
func ValidID(id string) bool { return idPattern.MatchString(id) }

// validate lists what control.yaml lacks.
func (c Control) validate() (faults []error) {
	need := func(ok bool, field, want string) {
		if !ok {
			faults = append(faults, fmt.Errorf("%s/control.yaml: %s: want %s", c.Dir, field, want))
		}
	}
	need(ValidID(c.ID), "id", "a name like RF-WL-01")
	need(c.Title != "" && len(c.Title) <= 80, "title", "1 to 80 characters")
	need(c.Why != "", "why", "what an attacker gains")
	need(c.Wanted != "" && len(c.Wanted) <= 160, "wanted", "1 to 160 characters")
	need(c.Fix != "" && len(c.Fix) <= 240, "fix", "1 to 240 characters")
	need(oneOf(c.Severity, finding.Critical, finding.High, finding.Medium, finding.Low), "severity", "critical, high, medium or low")
	need(oneOf(c.Maturity, "detective", "preventive", "auto-remediating"), "maturity", "detective, preventive or auto-remediating")
	need(oneOf(c.Remedy, "", EvictDebugged), "remedy", EvictDebugged+", or nothing")
	need(oneOf(c.Told, "", UnsignedImages), "told", UnsignedImages+", or nothing")
	need(validAction(c.Default), "default", "Deny, Warn or Audit")
	for _, p := range []string{"mvp", "standard", "strict"} {
		need(validAction(c.Profiles[p]), "profiles."+p, "Deny, Warn or Audit")
	}
	need(len(c.Groups) > 0, "groups", "at least one match group")
	need(len(c.Sources) > 0, "sources", "at least one source")
	for i, s := range c.Sources {
		need(s.Document != "" && s.Section != "" && s.Retrieved != "", fmt.Sprintf("sources[%d]", i), "document, section and retrieved")
	}
	return faults
}

func validAction(a finding.Action) bool {
	return oneOf(a, finding.Deny, finding.Warn, finding.Audit)
}

func oneOf[T comparable](v T, all ...T) bool {
	for _, a := range all {
		if v == a {
			return true
		}
	}
	return false
}
