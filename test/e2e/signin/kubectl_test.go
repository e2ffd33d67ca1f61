package signin

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"ringfence.dev/ringfence/cli"
	"ringfence.dev/ringfence/internal/idptest"
	"ringfence.dev/ringfence/internal/ringfencetest"
)

var shown = regexp.MustCompile(`sign in at: (\S+)`)

// person is standard error with somebody who opens the address that it shows.
type person struct {
	bytes.Buffer
	browser *http.Client
	opened  sync.WaitGroup
}

func (p *person) Write(b []byte) (int, error) {
	if at := shown.FindSubmatch(b); at != nil {
		address := string(at[1]) // b is used again
		p.opened.Go(func() {
			if answer, err := p.browser.Get(address); err == nil {
				answer.Body.Close()
			}
		})
	}
	return p.Buffer.Write(b)
}

// kubectl: somebody signs in once, with the second factor, and a kubeconfig as docs/signin.md shows it speaks for them at the real API
// server, by the plug-in that kubectl and every program of its library run. The token is renewed when it ends; after logout there is none, and
// nobody goes on without a name.
func kubectl(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("KUBERNETES_EXEC_INFO", "")
	p := idptest.Start(t)
	p.Set(func(s *idptest.Settings) {
		s.Claims = map[string]any{"groups": []string{"payments-admins"}, "amr": []string{"pwd", "mfa"}}
	})
	ca, err := os.ReadFile(p.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := configureFor(fmt.Sprintf("{issuer: %q, clientID: %s, mfa: mfa}", p.URL, idptest.ClientID), ca, "--require-mfa"); err != nil {
		t.Fatal(err)
	}
	ringfence := func(want int, args ...string) {
		t.Helper()
		prose := &person{browser: p.Client()}
		var out bytes.Buffer
		code := cli.Main(t.Context(), args, cli.Env{Stdin: strings.NewReader(""), Stdout: &out, Stderr: prose, Now: time.Now})
		prose.opened.Wait()
		if code != want {
			t.Fatalf("ringfence %s: exit code %d, want %d: %s%s", strings.Join(args, " "), code, want, out.String(), prose.String())
		}
	}
	ringfence(0, "login", "--platform", filepath.Join(filepath.Dir(world.file), "platform.yaml"), "--ca", p.CAFile, "--no-browser")

	me := func() (authenticationv1.UserInfo, error) {
		program, err := os.Executable()
		if err != nil {
			return authenticationv1.UserInfo{}, err
		}
		config := &rest.Config{Host: world.cluster.Config.Host, TLSClientConfig: rest.TLSClientConfig{CAData: world.cluster.Config.CAData}, ExecProvider: &clientcmdapi.ExecConfig{
			APIVersion: "client.authentication.k8s.io/v1", Command: program, InteractiveMode: clientcmdapi.NeverExecInteractiveMode, StdinUnavailable: true,
			Args: []string{"login", "--exec-credential", "--issuer", p.URL, "--client-id", idptest.ClientID},
			// A name of its own each time: the library keeps what a plug-in of the same settings gave.
			Env: []clientcmdapi.ExecEnvVar{{Name: asProgram, Value: fmt.Sprint(time.Now().UnixNano())}},
		}}
		api, err := kubernetes.NewForConfig(config)
		if err != nil {
			return authenticationv1.UserInfo{}, err
		}
		review, err := api.AuthenticationV1().SelfSubjectReviews().Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return authenticationv1.UserInfo{}, err
		}
		return review.Status.UserInfo, nil
	}
	var who authenticationv1.UserInfo
	ringfencetest.Eventually(t, "the API server to take the provider's tokens", func() error {
		who, err = me()
		return err
	})
	if who.Username != "oidc:anna" || !slices.Contains(who.Groups, "oidc:payments-admins") || !slices.Equal(who.Extra["ringfence.dev/mfa"], []string{"true"}) {
		t.Errorf("kubectl is %+v, want oidc:anna of oidc:payments-admins with a second factor", who)
	}
	ringfence(0, "logout")
	if who, err := me(); err == nil || !strings.Contains(err.Error(), "getting credentials") {
		t.Errorf("after logout kubectl is %+v, %v; want no credentials", who, err)
	}
}
