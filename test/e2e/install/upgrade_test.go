package install

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/controls"
	"ringfence.dev/ringfence/internal/ringfencetest"
	"ringfence.dev/ringfence/samples"
)

const (
	// gone is the folder of a control that the next version does not have, said what it says of another.
	gone         = "pod/no-mac-override"
	title, said  = "No privileged containers", "No privileged containers, says the next version"
	pause        = 30 * time.Millisecond
	triesAtLeast = 30 // of each kind of bad object, in an upgrade and a rollback; far more is usual
)

// changed is the catalogue of the next version: a control fewer, and another text.
func changed() fs.FS {
	out := fstest.MapFS{}
	err := fs.WalkDir(controls.FS, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(name, gone+"/") {
			return err
		}
		text, err := fs.ReadFile(controls.FS, name)
		if strings.HasPrefix(name, "pod/no-privileged/") {
			text = bytes.ReplaceAll(text, []byte(title), []byte(said))
		}
		out[name] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		panic(err)
	}
	return out
}

// siege tries what must be refused, and what must not, until it is lifted.
type siege struct {
	b        *bed
	lift     chan struct{}
	besieged sync.WaitGroup
	mu       sync.Mutex // guards faults
	faults   []string
	refused  map[string]*atomic.Int64
	good     atomic.Int64
}

// attempts are objects that must be refused, by what they are, and the one that must not be.
func attempts(t *testing.T) (bad map[string]*unstructured.Unstructured, good *unstructured.Unstructured) {
	t.Helper()
	bad = map[string]*unstructured.Unstructured{}
	read := func(text []byte) *unstructured.Unstructured {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &o.Object); err != nil {
			t.Fatal(err)
		}
		return o
	}
	for _, name := range []string{"2-foreign-registry", "3-host-mount", "5-node-port", "7-privileged", "8-host-network"} {
		text, err := fs.ReadFile(samples.FS, "refused/"+name+".yaml")
		if err != nil {
			t.Fatal(err)
		}
		bad[name] = read(text)
	}
	bad["of nobody"] = read([]byte(`{apiVersion: v1, kind: Pod, metadata: {namespace: nobodys, name: x}, spec: {containers: [{name: a, image: nginx}]}}`))
	text, err := fs.ReadFile(samples.FS, "compliant.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return bad, read(bytes.Split(text, []byte("\n---\n"))[1])
}

// besiege begins: a worker for each bad object, one that edits a good workload into a bad one, and one that asks for what is allowed.
func (b *bed) besiege(t *testing.T) *siege {
	t.Helper()
	bad, good := attempts(t)
	if err := b.admin.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "nobodys"}}); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	for what, o := range bad { // an API server takes up each policy by itself
		ringfencetest.Eventually(t, what+" to be refused", func() error {
			return ringfencetest.Refused(b.admin.Create(t.Context(), o.DeepCopy(), client.DryRunAll), "denied request: RF-")
		})
	}
	s := &siege{b: b, lift: make(chan struct{}), refused: map[string]*atomic.Int64{}}
	for what, o := range bad {
		s.worker(t, what, func(i int) error {
			try := o.DeepCopy()
			try.SetName(fmt.Sprintf("siege-%d", i))
			return b.admin.Create(t.Context(), try)
		})
	}
	s.worker(t, "an edit", func(int) error {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "api"}}
		return b.admin.Patch(t.Context(), d, client.RawPatch(types.StrategicMergePatchType, []byte(`{"spec":{"template":{"spec":{"containers":[{"name":"api","securityContext":{"privileged":true,"allowPrivilegeEscalation":true}}]}}}}`)))
	})
	s.besieged.Go(func() {
		for s.open() {
			try := good.DeepCopy()
			try.SetName("good")
			if err := b.admin.Create(t.Context(), try, client.DryRunAll); err != nil {
				s.fault("what is allowed was refused: %v", err)
			} else {
				s.good.Add(1)
			}
			time.Sleep(pause)
		}
	})
	return s
}

func (s *siege) open() bool {
	select {
	case <-s.lift:
		return false
	default:
		return true
	}
}

func (s *siege) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// worker tries one thing for as long as the siege lasts. Every answer must be a refusal by a rule of Ringfence's.
func (s *siege) worker(t *testing.T, what string, try func(i int) error) {
	t.Helper()
	count := &atomic.Int64{}
	s.refused[what] = count
	s.besieged.Go(func() {
		for i := 0; s.open(); i++ {
			switch err := try(i); {
			case err == nil:
				s.fault("%s: attempt %d was let in", what, i)
			case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "RF-"):
				count.Add(1)
			default:
				s.fault("%s: attempt %d: %v; want a refusal by a rule", what, i, err)
			}
			time.Sleep(pause)
		}
	})
}

// ends ends the siege and says what came of it.
func (s *siege) ends(t *testing.T) {
	t.Helper()
	close(s.lift)
	s.besieged.Wait()
	for i, f := range s.faults {
		if i < 20 {
			t.Error(f)
		}
	}
	all := int64(0)
	for what, n := range s.refused {
		if all += n.Load(); n.Load() < triesAtLeast {
			t.Errorf("%s: refused %d times; want %d attempts at least", what, n.Load(), triesAtLeast)
		}
	}
	t.Logf("%d bad requests, each refused; %d good ones, each let in; %d faults", all, s.good.Load(), len(s.faults))
}

// upgrades: another version comes, and goes again, while bad objects are tried the whole time: none gets in, and nothing good is refused.
func (b *bed) upgrades(t *testing.T) {
	t.Helper()
	s := b.besiege(t)
	b.moves(t, next, "2")
	b.refusesWith(t, said)
	b.records(t, "siege-")
	b.moves(t, first, "1")
	b.refusesWith(t, title+":")
	s.ends(t)
	b.verifiesLedger(t)
}

// TestUpgradeFrom upgrades from an earlier release to this program and rolls back to it, as upgrades does.
func TestUpgradeFrom(t *testing.T) {
	if os.Getenv(envEarlier) == "" {
		t.Skip(envEarlier + " names the program of an earlier release")
	}
	b := newBed(t, earlier, "")
	b.guards(t)
	ringfencetest.Eventually(t, "the good workload", func() error { return cluster.Install(t.Context(), "../../../samples/compliant.yaml") })
	s := b.besiege(t)
	b.moves(t, first, "2")
	b.records(t, "siege-")
	b.moves(t, earlier, "1")
	evidence := filepath.Join(b.dir, "var/lib/ringfence/evidence")
	b.stop(t, "ringfence")
	if out, err := b.run("store", "rebuild", "--ledger", filepath.Join(evidence, "ledger"), "--store", filepath.Join(evidence, "store.db")); err != nil {
		t.Errorf("make the store anew: %v %s", err, out)
	}
	b.start(t, "ringfence", b.kubeconfig(t))
	b.records(t, "siege-")
	s.ends(t)
	b.verifiesLedger(t)
}

func (b *bed) verifiesLedger(t *testing.T) {
	t.Helper()
	if _, err := b.run("evidence", "verify", "--ledger", filepath.Join(b.dir, "var/lib/ringfence/evidence")); err != nil {
		t.Errorf("the ledger after both: %v", err)
	}
}

// moves brings another version as the docs say, and the processes as a cluster would: a new one that answers reviews before the old one
// goes, and the one that leads anew. It waits until the catalogue of that version is in force.
func (b *bed) moves(t *testing.T, version, digit string) {
	t.Helper()
	text, err := os.ReadFile(b.values)
	if err != nil {
		t.Fatal(err)
	}
	digest := func(d string) string { return "sha256:" + strings.Repeat(d, 64) }
	other := map[string]string{"1": "2", "2": "1"}[digit]
	text = bytes.ReplaceAll(text, []byte(digest(other)), []byte(digest(digit)))
	if err := os.WriteFile(b.values, text, 0o600); err != nil {
		t.Fatal(err)
	}
	b.version = version
	if e := <-b.install(); e.err != nil {
		t.Fatal(e.err)
	}
	var d appsv1.Deployment
	if err := b.admin.Get(t.Context(), client.ObjectKey{Namespace: v1alpha1.SystemNamespace, Name: "ringfence"}, &d); err != nil || !strings.HasSuffix(d.Spec.Template.Spec.Containers[0].Image, digest(digit)) {
		t.Fatalf("the Deployment has %v, %v, want the image of version %s", d.Spec.Template.Spec.Containers, err, version)
	}
	kubeconfig := b.kubeconfig(t)
	old := b.runs["ringfence-reviews"]
	b.start(t, "ringfence-reviews", kubeconfig)
	if err := old.stop(os.Interrupt); err != nil {
		t.Logf("Ringfence ended: %v", err)
	}
	b.stop(t, "ringfence")
	b.start(t, "ringfence", kubeconfig)
	catalogue := b.catalogue(t)
	ringfencetest.Eventually(t, "the rules of version "+version, func() error {
		var now v1alpha1.Platform
		if err := b.admin.Get(t.Context(), client.ObjectKey{Name: "platform"}, &now); err != nil {
			return err
		}
		if !strings.HasPrefix(now.Status.CatalogueDigest, catalogue) {
			return fmt.Errorf("catalogue %s is in force, want %s", now.Status.CatalogueDigest, catalogue)
		}
		return ringfencetest.InForce(t.Context(), b.admin)
	})
}

// catalogue is the beginning of the digest of the version's catalogue.
func (b *bed) catalogue(t *testing.T) (digest string) {
	t.Helper()
	out, err := b.run("version")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(out, "\ncatalogue ")
	digest, _, _ = strings.Cut(rest, " ")
	if !found || digest == "" {
		t.Fatalf("ringfence version names no catalogue: %s", out)
	}
	return digest
}

// refusesWith waits until the API server refuses in these words.
func (b *bed) refusesWith(t *testing.T, words string) {
	t.Helper()
	bad, _ := attempts(t)
	ringfencetest.Eventually(t, "a refusal that says "+words, func() error {
		return ringfencetest.Refused(b.admin.Create(t.Context(), bad["7-privileged"].DeepCopy(), client.DryRunAll), words)
	})
}
