package podsecurity

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/pod-security-admission/api"
	psa "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/control"
)

// The oldest and the newest server whose fixtures are run. The rules are those of the newest.
const oldestMinor, newestMinor = 30, 37

// difference is something on which older servers do not say what the newest says, and so we.
type difference struct {
	check psa.CheckID
	from  int // the first minor that says what we say
	// looser: the older servers forbid, we do not. Otherwise it is the other way round.
	looser bool
	reason string
}

// differences are all of them since the oldest server supported. The rules are the same at every server: what is looser is
// what later versions found harmless, and where Pod Security admission is in force the server still has its own say.
var differences = []difference{
	{"sysctls", 37, true, "1.32 and 1.37 found more sysctls safe: tcp_rmem, tcp_wmem, tcp_slow_start_after_idle, tcp_notsent_lowat; an older kubelet refuses to set what it does not know as safe"},
	{"seLinuxOptions", 31, true, "1.31 allowed the type container_engine_t, which confines container engines"},
	{"procMount", 35, true, "1.35 allows any procMount in a user namespace at baseline; RF-WL-11 is as strict as restricted and refuses it all the same"},
	{"runAsNonRoot", 35, true, "1.35 allows root in a user namespace of its own, where it is nobody on the node; a server without user namespaces drops hostUsers, and the rule then sees the pod without it"},
	{"runAsUser", 35, true, "1.35 allows root in a user namespace of its own, as for runAsNonRoot"},
	{"procMount_restricted", 35, false, "the check is new in 1.35; before, the one of baseline said the same"},
	{"hostProbesAndHostLifecycle", 34, false, "the check is new in 1.34; what it guards against works on every server"},
}

// listed are the fixtures on which the differences show.
var listed = []listing{
	{api.LevelBaseline, "procmount0", "procMount"},
	{api.LevelBaseline, "procmount1", "procMount"},
}

// listing is a fixture that the differences of a check explain.
type listing struct {
	level   api.Level
	fixture string
	check   psa.CheckID
}

// differenceOf is the difference that explains what a check of a minor says.
func differenceOf(check psa.CheckID, minor int) (difference, bool) {
	i := slices.IndexFunc(differences, func(d difference) bool { return d.check == check && minor < d.from })
	if i < 0 {
		return difference{}, false
	}
	return differences[i], true
}

// TestFixtures judges every fixture of Pod Security admission: our verdict is the one that its folder names, or it is listed.
func TestFixtures(t *testing.T) {
	data := filepath.Join(moduleDir(t), "test", "testdata")
	evaluator, err := psa.NewEvaluator(psa.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	e, count, equal := engine(t, catalogue(t)), 0, 0
	used := map[string]int{}
	for minor := oldestMinor; minor <= newestMinor; minor++ {
		for level, of := range levels() {
			files, err := filepath.Glob(filepath.Join(data, string(level), fmt.Sprintf("v1.%d", minor), "*", "*.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no fixtures of %s 1.%d: %v", level, minor, err)
			}
			for _, file := range files {
				s := fixture(t, file)
				fails, err := judged(e, s.ours)
				if err != nil {
					t.Fatalf("%s: %v", file, err)
				}
				want := filepath.Base(filepath.Dir(file)) == "fail"
				version := api.LevelVersion{Level: level, Version: api.MajorMinorVersion(1, minor)}
				if theirs := psa.AggregateCheckResults(evaluator.EvaluatePod(version, &s.theirs.ObjectMeta, &s.theirs.Spec)); theirs.Allowed == want {
					t.Fatalf("%s: Pod Security itself says %q", file, theirs.ForbiddenDetail())
				}
				name := strings.TrimSuffix(filepath.Base(file), ".yaml")
				i := slices.IndexFunc(listed, func(l listing) bool {
					_, explained := differenceOf(l.check, minor)
					return explained && want && l.level == level && l.fixture == name
				})
				count++
				switch got := forbidden(fails, &s.theirs.Spec, of); {
				case got == want && i < 0:
					equal++
				case got != want && i >= 0:
					used[fmt.Sprintf("%s %s, %s", level, name, listed[i].check)]++
				case got == want:
					t.Errorf("%s %s 1.%d: is listed and equal", level, name, minor)
				default:
					t.Errorf("%s %s 1.%d: forbidden = %v, want %v; found %v", level, name, minor, got, want, lines(fails))
				}
			}
		}
	}
	if next, _ := filepath.Glob(filepath.Join(data, "*", fmt.Sprintf("v1.%d", newestMinor+1))); len(next) > 0 {
		t.Errorf("there are fixtures of 1.%d, newer than the newest server supported", newestMinor+1)
	}
	if len(used) != len(listed) {
		t.Errorf("used of the list: %v; want every entry", used)
	}
	t.Logf("%d fixtures, %d equal, %d listed: %v", count, equal, count-equal, used)
}

// TestOlderServers compares each check of each older minor with our rules on generated pods: what differs is in the table of
// differences, and everything in the table differs.
func TestOlderServers(t *testing.T) {
	const few = 2000
	e, used := engine(t, catalogue(t)), map[psa.CheckID]int{}
	for i := range few {
		metadata, spec := pod(i)
		text, err := json.Marshal(workload(control.Groups()[0].Kinds[0], metadata, spec))
		if err != nil {
			t.Fatal(err)
		}
		s, err := read(text, text)
		if err != nil {
			t.Fatal(err)
		}
		fails, err := judged(e, s.ours)
		if err != nil {
			t.Fatal(err)
		}
		if refused(&s.theirs.Spec) || s.theirs.Spec.HostNetwork {
			continue
		}
		for _, c := range psa.DefaultChecks() {
			ours := forbidden(fails, &s.theirs.Spec, []psa.CheckID{c.ID})
			for minor := oldestMinor; minor < newestMinor; minor++ {
				theirs := forbids(c, minor, s)
				d, explained := differenceOf(c.ID, minor)
				if ours == theirs {
					continue
				}
				used[c.ID]++
				if !explained || d.looser != theirs {
					t.Errorf("1.%d %s: forbidden = %v, ours %v: %s", minor, c.ID, theirs, ours, text)
				}
			}
		}
	}
	for _, d := range differences {
		if used[d.check] == 0 {
			t.Errorf("%s: no pod shows the difference", d.check)
		}
		t.Logf("before 1.%d, %s, looser = %v: %s", d.from, d.check, d.looser, d.reason)
	}
}

// forbids is what a check says at a minor; one that is newer says nothing.
func forbids(c psa.Check, minor int, s subject) bool {
	no := false
	for _, v := range c.Versions {
		if v.MinimumVersion.Major() == 1 && v.MinimumVersion.Minor() <= minor {
			no = !v.CheckPod(&s.theirs.ObjectMeta, &s.theirs.Spec).Allowed
		}
	}
	return no
}

// fixture reads one fixture.
func fixture(t *testing.T, file string) subject {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	inJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := read(text, inJSON)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s
}

// moduleDir is where the go command keeps the module whose fixtures are run.
func moduleDir(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/pod-security-admission").Output()
	if err != nil {
		t.Fatalf("go list -m k8s.io/pod-security-admission: %v", err)
	}
	return strings.TrimSpace(string(out))
}
