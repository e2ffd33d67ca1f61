package podsecurity

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	psa "k8s.io/pod-security-admission/policy"

	"ringfence.dev/ringfence/control"
	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/manifest"
	"ringfence.dev/ringfence/policy"
)

// generated is how many pods are made, and wrapEvery which of them are judged inside another kind of workload too.
const generated, wrapEvery = 100_000, 10

// TestGenerated demands that both sides say the same of every generated pod: each check, and each level as a whole.
func TestGenerated(t *testing.T) {
	n := generated
	if testing.Short() {
		n /= 5
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	start, before := time.Now(), cpu(t)
	s := newComparison(t, catalogue(t)).run(t, n)
	for _, example := range s.examples {
		t.Error(example)
	}
	t.Logf("%d pods, %d of them in other workloads too: %d forbidden at baseline, %d at restricted, %d of all refused by the API server before; %d differences; %s, %s CPU",
		s.pods.Load(), s.wrapped.Load(), s.forbidden[api.LevelBaseline].Load(), s.forbidden[api.LevelRestricted].Load(), s.refused.Load(), s.differences.Load(),
		time.Since(start).Round(time.Millisecond), (cpu(t) - before).Round(time.Millisecond))
	for _, id := range slices.Sorted(maps.Keys(checks)) {
		t.Logf("pods that only %s forbids: %d", id, s.alone[id])
		if s.alone[id] < n/4000 {
			t.Errorf("the generator makes %d pods that only %s forbids, want %d", s.alone[id], id, n/4000)
		}
	}
}

// mutations break a rule, as a mistake would.
var mutations = []struct {
	control  string
	check    psa.CheckID
	from, to string
}{
	{"RF-WL-01", "privileged", "privileged.orValue(false)", "privileged.orValue(true)"},
	{"RF-WL-02", "hostNamespaces", "'hostIPC'", "'hostIpc'"},
	{"RF-WL-03", "hostPathVolumes", "has(variables.volumes[i].hostPath)", "variables.volumes[i].?hostPath.?path.hasValue()"},
	{"RF-WL-04", "hostPorts", ".exists(p, p.?hostPort.orValue(0) != 0)", ".exists(p, p.?hostPort.orValue(0) > 0)"},
	{"RF-WL-05", "runAsUser", "variables.podSpec.?hostUsers.orValue(true) == false", "variables.podSpec.?hostUsers.hasValue()"},
	{"RF-WL-05", "runAsNonRoot", "variables.podSecurity.?runAsNonRoot.orValue(true) == false", "false"},
	{"RF-WL-07", "allowPrivilegeEscalation", "variables.podSpec.?os.?name.orValue('') != 'windows'", "true"},
	{"RF-WL-08", "capabilities_restricted", "variables.podSpec.?os.?name.orValue('') == 'windows'", "variables.podSpec.?os.hasValue()"},
	{"RF-WL-08", "capabilities_baseline", "c != 'NET_BIND_SERVICE'", "c.upperAscii() != 'NET_BIND_SERVICE'"},
	{"RF-WL-09", "seccompProfile_restricted", "!variables.podSecurity.?seccompProfile.hasValue() && ", ""},
	{"RF-WL-10", "appArmorProfile", "k.startsWith('container.apparmor.security.beta.kubernetes.io/')", "k == 'container.apparmor.security.beta.kubernetes.io/c0'"},
	{"RF-WL-10", "seLinuxOptions", "variables.containers[i].?securityContext.?seLinuxOptions.hasValue()", "false"},
	{"RF-WL-11", "sysctls", "'net.ipv4.tcp_notsent_lowat'", "'net.ipv4.tcp_mem'"},
	{"RF-WL-11", "procMount_restricted", "orValue('Default') != 'Default'", "orValue('Default') == 'Unmasked'"},
	{"RF-WL-12", "windowsHostProcess", "variables.podSecurity.?windowsOptions.?hostProcess.orValue(false) == true", "false"},
	{"RF-WL-13", "restrictedVolumes", "'projected', ", "'projected', 'nfs', "},
	{"RF-WL-14", "hostProbesAndHostLifecycle", "variables.containers[i].?startupProbe.?tcpSocket.?host.orValue('') != ''", "false"},
}

// TestMutations: each broken rule is found by the comparison, so that it can fail.
func TestMutations(t *testing.T) {
	const few = 2000
	for _, m := range mutations {
		cat := catalogue(t, slices.Compact([]string{"RF-WL-03", m.control})...) // the restricted volumes are the matter of two
		i := slices.IndexFunc(cat.Controls, func(c control.Control) bool { return c.ID == m.control })
		broken := 0
		for v := range cat.Controls[i].Variables {
			text := &cat.Controls[i].Variables[v].Expression
			broken += strings.Count(*text, m.from)
			*text = strings.ReplaceAll(*text, m.from, m.to)
		}
		if broken == 0 {
			t.Errorf("%s does not say %q any more", m.control, m.from)
			continue
		}
		c := newComparison(t, cat)
		c.checks, c.levels = map[psa.CheckID]psa.CheckPodFn{m.check: c.checks[m.check]}, nil
		if s := c.run(t, few); s.differences.Load() == 0 {
			t.Errorf("%s with %q for %q: %d pods show no difference", m.control, m.to, m.from, few)
		}
	}
}

// cpu is the CPU time that the process has used.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// score is what a comparison saw. Its fields are safe for many goroutines.
type score struct {
	pods, wrapped, refused, differences atomic.Int64
	forbidden                           map[api.Level]*atomic.Int64

	mu       sync.Mutex
	alone    map[psa.CheckID]int // pods that no other check of their level forbids, by check
	examples []string
}

func (s *score) differ(example string) {
	s.differences.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.examples) < 10 {
		s.examples = append(s.examples, example)
	}
}

// comparison judges pods by both sides.
type comparison struct {
	engine    *policy.Engine
	kinds     []control.Kind
	evaluator psa.Evaluator
	checks    map[psa.CheckID]psa.CheckPodFn // those to compare one by one
	levels    map[api.Level][]psa.CheckID    // those to compare as a whole
}

func newComparison(t testing.TB, cat *control.Catalogue) *comparison {
	t.Helper()
	evaluator, err := psa.NewEvaluator(psa.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &comparison{engine(t, cat), control.Groups()[0].Kinds, evaluator, newest(), levels()}
}

// run compares n pods on every core.
func (c *comparison) run(t testing.TB, n int) *score {
	s := &score{
		alone:     map[psa.CheckID]int{},
		forbidden: map[api.Level]*atomic.Int64{api.LevelBaseline: {}, api.LevelRestricted: {}},
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := c.one(s, i); err != nil {
					t.Errorf("pod %d: %v", i, err)
					return
				}
			}
		})
	}
	wait.Wait()
	return s
}

// one compares the i-th pod. Every tenth is judged inside another kind of workload too, which is read from bytes as a file is.
func (c *comparison) one(s *score, i int) error {
	metadata, spec := pod(i)
	pod := workload(c.kinds[0], metadata, spec)
	text, err := json.Marshal(pod)
	if err != nil {
		return err
	}
	both := subject{ours: &manifest.Object{Value: stored(pod).(object)}}
	if both.theirs, err = typed(text); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	s.pods.Add(1)
	if err := c.two(s, both, true); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	if i%wrapEvery > 0 {
		return nil
	}
	s.wrapped.Add(1)
	others := c.kinds[1:]
	outside, err := json.Marshal(workload(others[i/wrapEvery%len(others)], metadata, spec))
	if err != nil {
		return err
	}
	if both, err = read(outside, text); err == nil {
		err = c.two(s, both, false)
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, outside)
	}
	return nil
}

// two compares what both sides say.
func (c *comparison) two(s *score, both subject, count bool) error {
	fails, err := judged(c.engine, both.ours)
	for _, d := range c.differences(s, both, fails, count) {
		s.differ(fmt.Sprintf("%s; found %v in %v", d, lines(fails), both.ours.Value))
	}
	return err
}

// differences are the checks and levels on which both sides do not agree. Of a pod that the API server refuses before any
// policy sees it, ours may say more than theirs, never less.
func (c *comparison) differences(s *score, both subject, fails []finding.Finding, count bool) (all []string) {
	meta, spec := &both.theirs.ObjectMeta, &both.theirs.Spec
	never := refused(spec)
	var forbidding []psa.CheckID
	differ := func(what any, theirs, ours bool) {
		if ours != theirs && !(never && ours) {
			all = append(all, fmt.Sprintf("%v: theirs forbids = %v, ours = %v", what, theirs, ours))
		}
	}
	for id, check := range c.checks {
		if id == "hostPorts" && spec.HostNetwork {
			continue // every port is the host's then, and said so once, by the control for host namespaces
		}
		theirs := !check(meta, spec).Allowed
		differ(id, theirs, forbidden(fails, spec, []psa.CheckID{id}))
		if theirs {
			forbidding = append(forbidding, id)
		}
	}
	for level, of := range c.levels {
		theirs := !psa.AggregateCheckResults(c.evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, meta, spec)).Allowed
		differ(level, theirs, forbidden(fails, spec, of))
		if count && theirs {
			s.forbidden[level].Add(1)
		}
	}
	if never && count {
		s.refused.Add(1)
	}
	if only, ok := alone(forbidding); ok && count {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.alone[only]++
	}
	return all
}

// alone is the one check that forbids; where that of baseline forbids too, it is that one.
func alone(forbidding []psa.CheckID) (psa.CheckID, bool) {
	stricter := map[psa.CheckID]psa.CheckID{"hostPathVolumes": "restrictedVolumes", "procMount": "procMount_restricted",
		"seccompProfile_baseline": "seccompProfile_restricted", "capabilities_baseline": "capabilities_restricted"}
	slices.SortFunc(forbidding, func(a, b psa.CheckID) int { return cmp.Compare(stricter[b], stricter[a]) })
	switch len(forbidding) {
	case 1:
		return forbidding[0], true
	case 2:
		return forbidding[0], stricter[forbidding[0]] == forbidding[1]
	}
	return "", false
}

// refused reports whether the API server's validation refuses the pod for one of the two reasons for which Pod Security
// lets pass what our controls do not: more than one type in a volume, or fields of Linux for Windows (validateWindows in
// k8s.io/kubernetes/pkg/apis/core/validation). Validation comes before policies.
func refused(spec *corev1.PodSpec) bool {
	for _, v := range spec.Volumes {
		if types(v.VolumeSource) > 1 {
			return true
		}
	}
	if spec.OS == nil || spec.OS.Name != corev1.Windows {
		return false
	}
	var security []*corev1.SecurityContext
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		security = append(security, c.SecurityContext)
	}
	for _, c := range spec.EphemeralContainers {
		security = append(security, c.SecurityContext)
	}
	return slices.ContainsFunc(security, func(s *corev1.SecurityContext) bool {
		return s != nil && (s.Capabilities != nil || s.SeccompProfile != nil || s.AllowPrivilegeEscalation != nil)
	}) || spec.SecurityContext != nil && spec.SecurityContext.SeccompProfile != nil
}

// types is how many types a volume has.
func types(v corev1.VolumeSource) (n int) {
	for _, source := range reflect.ValueOf(v).Fields() {
		if !source.IsNil() {
			n++
		}
	}
	return n
}

func lines(fails []finding.Finding) (all []string) {
	for _, f := range fails {
		all = append(all, f.Control+": "+f.Found+" at "+f.Path)
	}
	return all
}
