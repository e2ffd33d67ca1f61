package images

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"ringfence.dev/ringfence/api/v1alpha1"
	"ringfence.dev/ringfence/internal/clustertest"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

// door is a real registry, and a way to it that sees each request before it arrives.
type door struct {
	host, behind string
	before       atomic.Pointer[func(*http.Request)]
}

// watch lets something see each request from now on; nil is nothing.
func (d *door) watch(before func(*http.Request)) {
	if before == nil {
		before = func(*http.Request) {}
	}
	d.before.Store(&before)
}

func openDoor(t *testing.T) *door {
	t.Helper()
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	program := os.Getenv("RINGFENCE_REGISTRY_BIN")
	if program == "" {
		program = filepath.Join(root, "bin", "registry")
	}
	cmd := exec.Command(program)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("start the registry: %v; fix: make build", err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the registry says no address: %v", err)
	}
	d := &door{behind: strings.TrimSpace(line)}
	to, err := url.Parse("http://" + d.behind)
	if err != nil {
		t.Fatal(err)
	}
	d.watch(nil)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // in which it tells where to upload to
	}, ErrorHandler: func(http.ResponseWriter, *http.Request, error) {}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*d.before.Load())(r)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	d.host = strings.TrimPrefix(s.URL, "http://")
	return d
}

// replaced are arguments with another value of a flag; "" takes the flag away.
func replaced(args []string, flag, value string) (out []string) {
	for i := 0; i < len(args); i++ {
		if args[i] != flag {
			out = append(out, args[i])
			continue
		}
		if i++; value != "" {
			out = append(out, flag, value)
		}
	}
	return out
}

// refused: what is missing or found keeps an image outside, and nothing of it is asked for.
func (d *importDesk) refused(t *testing.T) {
	stranger := pair(t, d.dir, "stranger")
	args := d.args(t, nina, "refused:7")
	d.want(t, 1, "nobody whom the bank trusts signed it upstream", replaced(args, "--upstream-key", stranger+".pub")...)
	d.want(t, 1, "1 of 2 scanners", append(args, "--quorum", "2")...)
	d.want(t, 1, "1 of 2 scanners that must: not scanned by qualys", append(args, "--platform", d.platform(t, "{scanners: [trivy, qualys], quorum: 2}"))...)
	d.want(t, 1, "0 of 1 scanners that must: not scanned by qualys", append(args, "--platform", d.platform(t, "{scanners: [qualys]}"))...)
	d.want(t, 1, "it has more than 10 bytes", append(args, "--max-size", "10")...)
	other := programImage(t, map[string]string{"app/another": "x"})
	d.says(t, other)
	d.want(t, 1, "no report names", args...)
	d.says(t, d.image)
	d.want(t, 2, "want a folder of its own", replaced(args, "--to", d.bank.host+"/elsewhere:7")...)
	secret := "TOKEN=ghp" + "_" + "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xY1zA2"
	leaking := programImage(t, map[string]string{"app/.env": "x\n" + secret + "\n"})
	d.put(t, "library/leaking:7", leaking)
	d.says(t, leaking)
	leak := d.args(t, nina, "leaking:7")
	leak[2] = d.upstream.host + "/library/leaking:7"
	leak = append(replaced(leak, "--upstream-key", ""), "--upstream-unsigned")
	if out := d.want(t, 1, "github-pat in line 2 of app/.env looks like a secret", leak...); strings.Contains(out, secret) {
		t.Error("it prints the secret")
	}
	out := d.want(t, 3, "app/.env of sha256:", append(leak, "--accept-secret", "github-pat:app/.env")...)
	d.approve(t, erin, waiting(t, out), 0, "github-pat")
	d.want(t, 1, "looks like a secret", leak...) // what was approved is another wish
	d.says(t, d.image)
	for _, at := range []string{"refused:7", "elsewhere:7", "leaking:7"} {
		if got := d.lies(t, at); got != "" {
			t.Errorf("%s means %s in the bank's registry", at, got)
		}
	}
}

// platform is a file with what a Platform says of imports.
func (d *importDesk) platform(t *testing.T, imports string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "platform.yaml")
	text := "apiVersion: ringfence.dev/v1alpha1\nkind: Platform\nmetadata: {name: platform}\nspec:\n  registries: [registry.bank.example]\n  images: {imports: " + imports + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// unmet: the API server takes no Platform whose quorum of scanners no image could meet.
func (b *bed) unmet(t *testing.T) {
	unmet := &v1alpha1.Platform{Spec: v1alpha1.PlatformSpec{Images: v1alpha1.ImageRules{Imports: v1alpha1.ImportRules{Scanners: []string{"trivy"}, Quorum: 2}}}}
	unmet.Name = v1alpha1.PlatformName
	if err := b.admin.Create(t.Context(), unmet, client.DryRunAll); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "imports.quorum is more than there are scanners") {
		t.Errorf("a Platform with a quorum that no image could meet: %v", err)
	}
}

// forged: who asks, approves and pushes is what the API server says, and what was approved is what is pushed.
func (d *importDesk) forged(t *testing.T, b *bed) {
	as := func(p person) client.Client { return ringfencetest.AsPerson(t, cluster.Config, p) }
	refused := func(what string, err error, words string) {
		t.Helper()
		if err := ringfencetest.Refused(err, words); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("in another's name", as(nina).Create(t.Context(), wanted(erin.Name)), "in one's own name")
	long := wanted(nina.Name)
	long.Spec.Expires = metav1.NewTime(time.Now().Add(200 * time.Hour).UTC().Truncate(time.Second))
	refused("for ever", as(nina).Create(t.Context(), long), "168 h")
	approvedBy := func(by person, name string) func(*v1alpha1.ImageImport) {
		return func(i *v1alpha1.ImageImport) {
			i.Status.Approval = &v1alpha1.ImageImportApproval{Approver: name, ApproverObject: by.Object, ApprovedAt: metav1.Now()}
		}
	}
	pushedBy := func(name string) func(*v1alpha1.ImageImport) {
		return func(i *v1alpha1.ImageImport) {
			i.Status.Imported = &v1alpha1.ImageImported{By: name, At: metav1.Now(), Signature: digest('b')}
		}
	}
	i := wanted(both.Name)
	i.Spec.RequesterObject = both.Object
	if err := as(both).Create(t.Context(), i); err != nil {
		t.Fatal(err)
	}
	write := func(p person, edit func(*v1alpha1.ImageImport)) error {
		now := &v1alpha1.ImageImport{}
		if err := b.admin.Get(t.Context(), client.ObjectKeyFromObject(i), now); err != nil {
			t.Fatal(err)
		}
		edit(now)
		return as(p).Status().Update(t.Context(), now)
	}
	refused("pushed before it is approved", write(both, pushedBy(both.Name)), "approved by another person before")
	refused("by oneself", write(both, approvedBy(both, both.Name)), "another person")
	refused("by a second account", write(dual, approvedBy(dual, dual.Name)), "another person")
	refused("in an approver's name", write(both, approvedBy(erin, erin.Name)), "in one's own name")
	refused("without the role", write(nina, approvedBy(nina, nina.Name)), "verb approve")
	if err := write(erin, approvedBy(erin, erin.Name)); err != nil {
		t.Fatal(err)
	}
	refused("approved twice", write(erin, func(i *v1alpha1.ImageImport) {
		i.Status.Approval.ApprovedAt = metav1.NewTime(time.Now().Add(time.Hour))
	}), "never changed")
	refused("pushed in another's name", write(both, pushedBy(nina.Name)), "in one's own name")
	if err := write(both, pushedBy(both.Name)); err != nil {
		t.Fatal(err)
	}
	refused("pushed twice", write(both, func(i *v1alpha1.ImageImport) { i.Status.Imported.Signature = digest('c') }), "pushed once")
	changed := i.DeepCopy()
	changed.Spec.Digest = digest('f')
	if err := b.admin.Patch(t.Context(), changed, client.MergeFrom(i)); err == nil || !strings.Contains(err.Error(), "cannot be changed") {
		t.Errorf("changed after it was approved: %v", err)
	}
}

// moved: the tag means another image before the blobs are fetched, and again before it is pushed; what came is what was looked up first.
func (d *importDesk) moved(t *testing.T) {
	evil := programImage(t, map[string]string{"app/evil": "x"})
	var once atomic.Bool
	d.upstream.watch(func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet && once.CompareAndSwap(false, true) {
			d.putBehind(t, "library/redis:7", evil)
		}
	})
	t.Cleanup(func() {
		d.upstream.watch(nil)
		d.put(t, "library/redis:7", d.image)
	})
	out := d.want(t, 3, d.digest, d.args(t, nina, "moved:7")...)
	if !once.Load() {
		t.Fatal("the tag was not moved")
	}
	d.approve(t, erin, waiting(t, out), 0, "")
	d.want(t, 0, "imported", d.args(t, nina, "moved:7")...)
	if got := d.lies(t, "moved:7"); got != d.digest {
		t.Errorf("the tag means %s, want what was approved: %s", got, d.digest)
	}
}

// putBehind puts an image upstream, past the door.
func (d *importDesk) putBehind(t *testing.T, at string, i v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(d.upstream.behind + "/" + at)
	if err == nil {
		err = remote.Write(ref, i)
	}
	if err != nil {
		t.Error(err)
	}
}

// envEveryKill asks for a kill at every request, where one in some is enough each time.
const envEveryKill = "RINGFENCE_EVERY_KILL"

// killed: the program is killed at a request to either registry, before its approval and after; run again it goes on, and until it has ended
// the bank's registry knows no tag of it.
func (d *importDesk) killed(t *testing.T) {
	program, step := d.program(t), 5
	if os.Getenv(envEveryKill) != "" {
		step = 1
	}
	var kills [2]int
	for phase := range kills { // before the approval, and after
		for n := 1; ; n += step {
			to := fmt.Sprintf("killed-%d-%d:7", phase, n)
			if phase == 1 {
				d.approve(t, erin, waiting(t, d.want(t, 3, "", d.args(t, nina, to)...)), 0, "")
			}
			died := d.killAt(t, program, to, int64(n))
			if got := d.lies(t, to); got != "" && (phase == 0 || got != d.digest) {
				t.Errorf("killed at request %d of phase %d: the tag means %s", n, phase, got)
			}
			if phase == 0 {
				d.want(t, 3, "waiting", d.args(t, nina, to)...)
			} else {
				d.want(t, 0, "imported", d.args(t, nina, to)...)
				if got := d.lies(t, to); got != d.digest {
					t.Errorf("killed at request %d and run again: the tag means %q", n, got)
				}
				d.want(t, 0, "", "image", "verify", d.bank.behind+"/"+to, "--key", d.key+".pub")
			}
			if !died {
				break
			}
			kills[phase]++
		}
	}
	t.Logf("killed %d times before the approval and %d times after it", kills[0], kills[1])
	if kills[0] == 0 || kills[1] == 0 {
		t.Error("nothing was killed")
	}
}

// killAt runs the program until it makes a request of that number, and kills it there. It says whether it came so far.
func (d *importDesk) killAt(t *testing.T, program, to string, number int64) (died bool) {
	t.Helper()
	var asked atomic.Int64
	reached, held := make(chan struct{}), make(chan struct{})
	before := func(*http.Request) {
		if asked.Add(1) == number {
			close(reached)
			<-held
		}
	}
	d.upstream.watch(before)
	d.bank.watch(before)
	cmd := exec.CommandContext(t.Context(), program, d.args(t, nina, to)...)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start Ringfence: %v; fix: make build", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case <-reached:
		_ = cmd.Process.Kill()
		<-ended
		died = true
	case <-ended:
	}
	close(held)
	d.upstream.watch(nil)
	d.bank.watch(nil)
	return died
}

// program is Ringfence as a program that can be killed: RINGFENCE_BIN, else that of the bin folder.
func (d *importDesk) program(t *testing.T) string {
	t.Helper()
	if given := os.Getenv("RINGFENCE_BIN"); given != "" {
		return given
	}
	root, err := clustertest.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "bin", "ringfence")
}
