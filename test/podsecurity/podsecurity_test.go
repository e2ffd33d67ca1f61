// Package podsecurity proves that the catalogue says of every pod what Pod Security Standards say, at both levels. It
// compares our engine with the checks that the API server's own Pod Security admission runs, on that project's fixtures and
// on many generated pods. It starts no API server (test/e2e/parity shows that the server and the engine agree) and holds
// nothing that others use; only go test calls it.
package podsecurity

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	psa "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/json"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
	"ringfence.dev/ringfence/policy/cel"
)

// says reports whether a finding is one that a check of Pod Security makes too.
type says func(f finding.Finding, spec *corev1.PodSpec) bool

// checks are the checks of Pod Security and which of our findings say the same. A control may stand for several checks:
// where one of baseline is weaker than the one of restricted, only a part of the control's findings is the first's.
var checks = map[psa.CheckID]says{
	"privileged":                 by("RF-WL-01", ""),
	"hostNamespaces":             by("RF-WL-02", ""),
	"hostPathVolumes":            by("RF-WL-03", ""),
	"hostPorts":                  by("RF-WL-04", ""),
	"runAsNonRoot":               by("RF-WL-05", "/runAsNonRoot"),
	"runAsUser":                  by("RF-WL-05", "/runAsUser"),
	"allowPrivilegeEscalation":   by("RF-WL-07", ""),
	"capabilities_baseline":      baselineCapabilities,
	"capabilities_restricted":    by("RF-WL-08", ""),
	"seccompProfile_baseline":    baselineSeccomp,
	"seccompProfile_restricted":  by("RF-WL-09", ""),
	"appArmorProfile":            byAny(by("RF-WL-10", "/appArmorProfile"), by("RF-WL-10", "/metadata/annotations")),
	"seLinuxOptions":             by("RF-WL-10", "/seLinuxOptions/"),
	"procMount":                  baselineProcMount,
	"procMount_restricted":       by("RF-WL-11", "/procMount"),
	"sysctls":                    by("RF-WL-11", "/sysctls/"),
	"windowsHostProcess":         by("RF-WL-12", ""),
	"restrictedVolumes":          byAny(by("RF-WL-13", ""), by("RF-WL-03", "")),
	"hostProbesAndHostLifecycle": by("RF-WL-14", ""),
}

// by are the findings of one control at paths that contain part.
func by(id, part string) says {
	return func(f finding.Finding, _ *corev1.PodSpec) bool {
		return f.Control == id && strings.Contains(f.Path, part)
	}
}

func byAny(any ...says) says {
	return func(f finding.Finding, spec *corev1.PodSpec) bool {
		return slices.ContainsFunc(any, func(s says) bool { return s(f, spec) })
	}
}

// baselineCapabilities: baseline lets those be added that a runtime gives anyway, and wants none dropped.
func baselineCapabilities(f finding.Finding, _ *corev1.PodSpec) bool {
	usual := []string{"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
	return f.Control == "RF-WL-08" && strings.Contains(f.Path, "/capabilities/add") &&
		slices.ContainsFunc(strings.Split(f.Found, ", "), func(name string) bool { return !slices.Contains(usual, name) })
}

// baselineSeccomp: baseline wants no profile, only no bad one.
func baselineSeccomp(f finding.Finding, _ *corev1.PodSpec) bool {
	return f.Control == "RF-WL-09" && f.Found != "no profile"
}

// baselineProcMount: baseline lets a pod in a user namespace of its own do with its /proc as it likes.
func baselineProcMount(f finding.Finding, spec *corev1.PodSpec) bool {
	return by("RF-WL-11", "/procMount")(f, spec) && (spec.HostUsers == nil || *spec.HostUsers)
}

// ids are the controls that make up Pod Security.
func ids() []string {
	var all []string
	for n := 1; n <= 14; n++ {
		if n != 6 { // the root group is ours alone
			all = append(all, fmt.Sprintf("RF-WL-%02d", n))
		}
	}
	return all
}

// catalogue is the controls that make up Pod Security, or those of them that are named.
func catalogue(t testing.TB, named ...string) *control.Catalogue {
	t.Helper()
	cat, err := control.Load(controls.FS)
	if err != nil {
		t.Fatal(err)
	}
	if len(named) == 0 {
		named = ids()
	}
	cat.Templates = nil
	cat.Controls = slices.DeleteFunc(cat.Controls, func(c control.Control) bool { return !slices.Contains(named, c.ID) })
	if len(cat.Controls) != len(named) {
		t.Fatalf("found %d controls, want %v", len(cat.Controls), named)
	}
	return cat
}

func engine(t testing.TB, cat *control.Catalogue) *policy.Engine {
	t.Helper()
	sets, err := cel.Compile(cat)
	if err != nil {
		t.Fatal(err)
	}
	return policy.New(sets...)
}

// newest is each check of Pod Security as the newest server runs it.
func newest() map[psa.CheckID]psa.CheckPodFn {
	all := map[psa.CheckID]psa.CheckPodFn{}
	for _, c := range psa.DefaultChecks() {
		all[c.ID] = c.Versions[len(c.Versions)-1].CheckPod
	}
	return all
}

// TestEveryCheck: Pod Security has no check that the table above does not speak of, and the other way round.
func TestEveryCheck(t *testing.T) {
	theirs := newest()
	for id := range theirs {
		if checks[id] == nil {
			t.Errorf("no control is named for the check %s", id)
		}
	}
	for id := range checks {
		if theirs[id] == nil {
			t.Errorf("Pod Security has no check %s", id)
		}
	}
}

// levels are the checks of each level. One that restricted puts another in the place of stays in it: the other is stricter.
func levels() map[api.Level][]psa.CheckID {
	all := map[api.Level][]psa.CheckID{}
	for _, c := range psa.DefaultChecks() {
		all[api.LevelRestricted] = append(all[api.LevelRestricted], c.ID)
		if c.Level == api.LevelBaseline {
			all[api.LevelBaseline] = append(all[api.LevelBaseline], c.ID)
		}
	}
	return all
}

// subject is one pod as both sides read it: from the same bytes.
type subject struct {
	ours   *manifest.Object
	theirs corev1.Pod
}

// read reads the bytes of a Pod, or of a workload whose pod is given beside it.
func read(text, pod []byte) (subject, error) {
	var s subject
	for o, err := range manifest.Read(bytes.NewReader(text), "pod.json") {
		if err != nil {
			return s, err
		}
		s.ours = o
	}
	if s.ours == nil {
		return s, fmt.Errorf("no object in %s", text)
	}
	var err error
	s.theirs, err = typed(pod)
	return s, err
}

// typed is a Pod as the API server hands it to a check.
func typed(text []byte) (pod corev1.Pod, err error) {
	err = json.UnmarshalCaseSensitivePreserveInts(text, &pod)
	for i, v := range pod.Spec.Volumes { // the one default of the API server that a check depends on
		if v.VolumeSource == (corev1.VolumeSource{}) {
			pod.Spec.Volumes[i].EmptyDir = &corev1.EmptyDirVolumeSource{}
		}
	}
	return pod, err
}

// judged are our findings; one that could not be decided is an error.
func judged(e *policy.Engine, o *manifest.Object) (fails []finding.Finding, err error) {
	for _, f := range e.Judge(policy.Input{Object: o.Value, Namespace: "payments-dev"}, o.Subject()) {
		switch f.Outcome {
		case finding.Pass:
		case finding.Fail:
			fails = append(fails, f)
		default:
			err = fmt.Errorf("%s", f.Message)
		}
	}
	return fails, err
}

// forbidden reports whether our findings speak for any of the checks.
func forbidden(fails []finding.Finding, spec *corev1.PodSpec, of []psa.CheckID) bool {
	return slices.ContainsFunc(fails, func(f finding.Finding) bool {
		return slices.ContainsFunc(of, func(id psa.CheckID) bool { return checks[id](f, spec) })
	})
}
