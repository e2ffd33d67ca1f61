package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// What `make soak` sets. The load is RATE/TIME, more of them with commas: 250/1m,150/30m.
const (
	envLoad, envObjects, envFindings = "LOAD", "LOAD_OBJECTS", "LOAD_FINDINGS"

	usualLoad, usualObjects, usualFindings = "100/8s", 400, 500
)

const (
	// teams are the tenant namespaces that objects lie in, batch how many audit events are posted at once.
	teams, batch = 10, 100
	// growth is by how many MiB, and by what share, the memory may grow after the first fifth of a load.
	growth, growthShare = 48, 0.15
)

// part is one load of a run.
type part struct {
	rate  int
	lasts time.Duration
}

func parseLoad(text string) (parts []part, err error) {
	for one := range strings.SplitSeq(text, ",") {
		rate, lasts, _ := strings.Cut(one, "/")
		n, rateErr := strconv.Atoi(rate)
		d, err := time.ParseDuration(lasts)
		if err := errors.Join(rateErr, err); err != nil || n < 1 || d < 5*time.Second {
			return nil, fmt.Errorf("%s holds %q; want RATE/TIME with a rate of 1 or more and a time of 5s or more, such as 150/30m: %w", envLoad, one, err)
		}
		parts = append(parts, part{n, d})
	}
	return parts, nil
}

// number is a number from the environment.
func number(t *testing.T, name string, usual int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s holds %q; want a number", name, text)
	}
	return n
}

// holdsLoad: Ringfence starts with many findings in its store and many objects in the cluster, and then holds a steady load without an
// error: what is right is let in, what is not is refused, all of that is recorded, and its memory does not grow. How long
// anything took is told and not tested.
func holdsLoad(t *testing.T) {
	c := administrator(t)
	load := os.Getenv(envLoad)
	if load == "" {
		load = usualLoad
	}
	parts, err := parseLoad(load)
	if err != nil {
		t.Fatal(err)
	}
	objects, findings := number(t, envObjects, usualObjects), number(t, envFindings, usualFindings)
	fill(t, c, objects) // before there are policies: it takes half the time
	furnish(t, c)
	for i := range teams {
		tenant := newTenant(fmt.Sprint("team", i), v1alpha1.Environment{Name: "dev", Namespace: v1alpha1.NamespaceName(team(i))})
		if err := c.Create(t.Context(), tenant); err != nil {
			t.Fatal(err)
		}
	}
	s := usual(t)
	s.AuditAddress = "127.0.0.1:0"
	p := start(t, s)
	inForce(t, c)
	ringfencetest.Eventually(t, "it to be ready", p.ready)
	tell(t, p, findings)
	p.stop()

	began := time.Now()
	p = start(t, s)
	for p.ready() != nil {
		time.Sleep(20 * time.Millisecond)
	}
	took := time.Since(began)
	inForce(t, c)
	t.Logf("start with %d findings and %d objects: ready after %v (bar 10s), %.0f MiB, %v of CPU", findings, objects, took.Round(10*time.Millisecond), rss(p.cmd.Process.Pid), cpu(p.cmd.Process.Pid))
	for _, one := range parts {
		t.Run(fmt.Sprintf("%d requests a second for %v", one.rate, one.lasts), func(t *testing.T) { steady(t, c, p, one) })
	}
	if p.stop(); !p.cmd.ProcessState.Success() {
		t.Errorf("it ended: %v", p.cmd.ProcessState)
	}
}

func team(i int) string { return fmt.Sprintf("team-%d", i) }

// fill makes Pods in the namespaces of teams. Nobody schedules them.
func fill(t *testing.T, c client.Client, n int) {
	t.Helper()
	for i := range teams {
		if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: team(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range teams {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: team(i), Name: "api"}}
		if err := c.Create(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	var pool errgroup.Group
	pool.SetLimit(16)
	for i := range n {
		pool.Go(func() error {
			p := pod()
			p.Namespace, p.GenerateName, p.Name = team(i%teams), "", fmt.Sprintf("api-%05d", i)
			p.Labels = map[string]string{"app": fmt.Sprintf("service-%03d", i%500), "app.kubernetes.io/part-of": "payments"}
			return c.Create(t.Context(), p)
		})
	}
	if err := pool.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d objects made in %v", n, time.Since(began).Round(time.Second))
}

// tell posts audit events of refusals until there are n findings more, and waits until they are in the store.
func tell(t *testing.T, p *process, n int) {
	t.Helper()
	sample, err := os.ReadFile("../../../detect/auditlog/testdata/events/refused.json")
	var list struct{ Items []json.RawMessage }
	if err == nil {
		err = json.Unmarshal(sample, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for from := 0; from < n; from += batch {
		var items [][]byte
		for i := from; i < min(n, from+batch); i++ {
			event := bytes.ReplaceAll(list.Items[0], []byte("55a9432a-4b28-4458-8734-43b9c48e84df"), fmt.Appendf(nil, "load-%d", i))
			items = append(items, bytes.ReplaceAll(event, []byte("refused-one"), fmt.Appendf(nil, "refused-%d", i)))
		}
		body := fmt.Appendf(nil, `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[%s]}`, bytes.Join(items, []byte(",")))
		answer, err := http.Post(p.audit, "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			t.Fatalf("a batch of audit events is answered %s", answer.Status)
		}
	}
	stored(t, p)
	t.Logf("%d findings recorded in %v", n, time.Since(began).Round(time.Millisecond))
}

// stored waits until the store has all that the ledger has, and nothing waits or was lost on the way.
func stored(t *testing.T, p *process) {
	t.Helper()
	ringfencetest.Eventually(t, "the store to have all that was recorded", func() error {
		for _, name := range []string{"ringfence_records_waiting", "ringfence_store_lag_entries"} {
			if n, err := p.metric(name, ""); n != 0 || err != nil {
				return fmt.Errorf("%s is %v, %w", name, n, err)
			}
		}
		return nil
	})
	for _, name := range []string{"ringfence_records_lost_total", "ringfence_store_failing", "ringfence_policy_gaps_total", "ringfence_admission_gaps_total"} {
		if n, err := p.metric(name, ""); n != 0 || err != nil {
			t.Errorf("%s is %v, %v; want 0", name, n, err)
		}
	}
}

// steady runs one load and tells what it cost.
func steady(t *testing.T, c client.Client, p *process, one part) {
	of := map[string]int{"kube-apiserver": component("kube-apiserver"), "etcd": component("etcd"), "ringfence": p.cmd.Process.Pid, "the load itself": os.Getpid()}
	before := map[string]time.Duration{}
	for name, pid := range of {
		before[name] = cpu(pid)
	}
	var memory []float64
	sampled := background(t, func(ctx context.Context) {
		tick := time.NewTicker(min(time.Second, one.lasts/50))
		defer tick.Stop()
		for ctx.Err() == nil {
			memory = append(memory, rss(p.cmd.Process.Pid))
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	began := time.Now()
	var l tally
	l.run(t.Context(), c, one.rate, one.lasts)
	took := time.Since(began)
	sampled()
	l.check(t)
	t.Logf("%.0f requests a second were made; where that is fewer than %d, the machine is too small or busy", float64(l.made.Load())/took.Seconds(), one.rate)
	for _, name := range []string{"kube-apiserver", "etcd", "ringfence", "the load itself"} {
		used := cpu(of[name]) - before[name]
		t.Logf("%s: %.2f of a processor, %.2f ms of CPU a request, %.0f MiB", name, used.Seconds()/took.Seconds(), used.Seconds()*1000/float64(l.made.Load()), rss(of[name]))
	}
	if err := p.alive(); err != nil {
		t.Error(err)
	}
	grew, err := grown(memory)
	if t.Log(grew); err != nil {
		t.Error(err)
	}
	for _, verdict := range []string{"undecided", "shed", "invalid"} {
		if n, err := p.metric("ringfence_admission_requests_total", `verdict="`+verdict+`"`); n != 0 || err != nil {
			t.Errorf("the webhook answered %v requests %s, %v", n, verdict, err)
		}
	}
	judged, err := p.metric("ringfence_admission_requests_total", `verdict="allowed"`)
	if err != nil || judged < float64(l.good.Load())/2 {
		t.Errorf("the webhook let %v requests in, %v; %d were let in altogether", judged, err, l.good.Load())
	}
	stored(t, p)
}

// grown compares the memory after the first fifth with that at the end, each the median of a fifth, so that what the garbage
// collector leaves lying does not count.
func grown(memory []float64) (text string, err error) {
	fifth := len(memory) / 5
	if fifth == 0 || memory[0] == 0 {
		return "the memory of processes is not to be read here", nil
	}
	middle := func(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }
	warm, end := middle(memory[fifth:2*fifth]), middle(memory[len(memory)-fifth:])
	if end > warm+growth && end > warm*(1+growthShare) {
		err = fmt.Errorf("its memory grew from %.0f MiB to %.0f", warm, end)
	}
	return fmt.Sprintf("memory of ringfence: %.0f MiB at the start, %.0f warm, %.0f at the end, %.0f at most", memory[0], warm, end, slices.Max(memory)), err
}

// TestGrown: memory that grows all the time is told from memory that grows at the start, or comes and goes.
func TestGrown(t *testing.T) {
	var leaks, warms, swings []float64
	for i := range 100 {
		leaks, warms, swings = append(leaks, 100+2*float64(i)), append(warms, 100+float64(min(i, 15)*10)), append(swings, 100+float64(i%10*10))
	}
	for name, test := range map[string]struct {
		memory []float64
		grows  bool
	}{"leaks": {leaks, true}, "warms up": {warms, false}, "comes and goes": {swings, false}} {
		if _, err := grown(test.memory); (err != nil) != test.grows {
			t.Errorf("memory that %s: %v", name, err)
		}
	}
}

// TestTally: what is bad and is let in is wrong whatever is forgiven, and so is what is good and is refused when nothing is.
func TestTally(t *testing.T) {
	forgiving := &tally{forgive: func(request, time.Time, error) bool { return true }}
	for _, r := range requests() {
		forgiving.count(r, time.Now(), time.Now(), nil)
	}
	strict := &tally{}
	for _, r := range requests() {
		strict.count(r, time.Now(), time.Now(), errors.New("no answer"))
	}
	if len(forgiving.wrong) != 2 || len(strict.wrong) != len(requests()) {
		t.Errorf("found %v and %v", forgiving.wrong, strict.wrong)
	}
}
