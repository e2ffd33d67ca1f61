package pull

import (
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestHostile gives what no scanner should: each ends with an error that says what was wrong, after few requests, and nothing is fetched.
func TestHostile(t *testing.T) {
	stolen := new(atomic.Int64)
	other := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen.Add(1) }))
	t.Cleanup(other.Close)
	status := func(codes ...int) func(int64, http.ResponseWriter, *http.Request) {
		return func(n int64, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(codes[int(n-1)%len(codes)]) }
	}
	text := func(body string) func(int64, http.ResponseWriter, *http.Request) {
		return func(_ int64, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }
	}
	redirect := func(to string) func(int64, http.ResponseWriter, *http.Request) {
		return func(_ int64, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		}
	}
	for name, try := range map[string]struct {
		answer func(n int64, w http.ResponseWriter, r *http.Request) // of what is no login
		want   string
		most   int64 // requests but logins
	}{
		"endless": {func(_ int64, w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}, "more than is read", 1},
		"a bomb": {func(_ int64, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			for range 64 {
				if _, err := z.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, "more than is read", 1},
		"cut short": {func(_ int64, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"data"`)
		}, "no whole answer", maxTries},
		"never an end":     {func(_ int64, w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush(); <-r.Context().Done() }, "no whole answer", maxTries},
		"429 for ever":     {status(http.StatusTooManyRequests), "answers 429", maxTries},
		"401 for ever":     {status(http.StatusUnauthorized), "refuses these credentials", 2},
		"401, 429 in turn": {status(http.StatusUnauthorized, http.StatusTooManyRequests), "it was asked 6 times", maxTries},
		"503 for ever":     {status(http.StatusServiceUnavailable), "answers 503", maxTries},
		"to be left alone": {func(_ int64, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "2000000000")
			w.WriteHeader(http.StatusTooManyRequests)
		}, "longer than there is time", 1},
		"another host":   {redirect(other.URL + "/csapi/v1.3/images/list"), "a redirect, status 307, which is not followed", 1},
		"metadata":       {redirect("http://169.254.169.254/latest/meta-data/iam/security-credentials/"), "which is not followed", 1},
		"no JSON":        {text("<html>" + password), "gives no list of images", 1},
		"no list":        {text(`{}`), "gives no list of images", 1},
		"null":           {text(`{"data": null}`), "gives no list of images", 1},
		"a path for sha": {text(`{"data": [{"sha": "../../../auth"}]}`), "want 64 hexadecimal digits", 1},
		"a page again":   {page(0), "gives a page again", 2},
		"pages for ever": {page(1), "name nothing new", maxStale + 3},
		"a link nowhere": {func(_ int64, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "<https://"+password+"/>;rel=next")
			fmt.Fprint(w, `{"data": []}`)
		}, "no paginationQuery", 1},
		"more than there": {func(n int64, w http.ResponseWriter, r *http.Request) { many(n, w) }, "more than 20", 1},
	} {
		t.Run(name, func(t *testing.T) {
			asked := new(atomic.Int64)
			c, _ := source(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/auth":
					fmt.Fprint(w, "token-1")
				case strings.HasSuffix(r.URL.Path, one): // the details of what the pages name
					w.WriteHeader(http.StatusNotFound)
				default:
					try.answer(asked.Add(1), w, r)
				}
			})
			c.Limits = Limits{Answer: 1 << 20, Reports: 20, Request: 5 * time.Second}
			if name == "never an end" {
				c.Limits.Request = 200 * time.Millisecond
			}
			texts, _, err := fetched(t, openQualys, c)
			if err == nil || !strings.Contains(err.Error(), try.want) || len(texts) != 0 {
				t.Errorf("%d reports, %v; want none and %q", len(texts), err, try.want)
			}
			if n := asked.Load(); n > try.most {
				t.Errorf("it was asked %d times; want at most %d", n, try.most)
			}
		})
	}
	if n := stolen.Load(); n != 0 {
		t.Errorf("the host of the redirect was asked %d times", n)
	}
}

// page gives the same image for ever; each next page differs by step.
func page(step int64) func(int64, http.ResponseWriter, *http.Request) {
	return func(n int64, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", fmt.Sprintf("<https://q.example/?paginationQuery=%d>;rel=next", n*step+1))
		fmt.Fprintf(w, `{"data": [{"sha": %q}]}`, one)
	}
}

// many names 21 images.
func many(_ int64, w http.ResponseWriter) {
	var all []string
	for n := range 21 {
		all = append(all, fmt.Sprintf(`{"sha": "%064x"}`, n))
	}
	fmt.Fprintf(w, `{"data": [%s]}`, strings.Join(all, ","))
}

// TestBrokenImages shows that one image which makes a scanner fail keeps none of the others from coming, and that a scanner which always fails
// is soon left alone.
func TestBrokenImages(t *testing.T) {
	d := func(n int) string { return fmt.Sprintf("sha256:%064x", n) }
	for name, try := range map[string]struct {
		broken                    func(digest string) bool
		reports, missing, indexes int
		ends                      bool
	}{
		"one":  {func(digest string) bool { return digest == d(3) }, 9, 1, 10, false},
		"some": {func(digest string) bool { return digest > d(7) }, 7, 3, 10, false},
		"all":  {func(string) bool { return true }, 0, maxBroken, maxBroken + 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			indexed := map[string]bool{} // guarded by mu
			c, _ := source(t, func(w http.ResponseWriter, r *http.Request) {
				digest := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
				mu.Lock()
				indexed[digest] = true
				mu.Unlock()
				switch {
				case try.broken(digest):
					w.WriteHeader(http.StatusInternalServerError)
				default:
					fmt.Fprintf(w, `{"manifest_hash": %q, "success": true}`, digest)
				}
			})
			c.User, c.Password = "", nil
			for n := range 10 {
				c.Images = append(c.Images, d(n+1))
			}
			texts, missing, err := fetched(t, openClair, c)
			mu.Lock()
			defer mu.Unlock()
			if len(texts) != try.reports || len(missing) != try.missing || (err != nil) != try.ends || len(indexed) != try.indexes {
				t.Errorf("%d reports, %d missing of %d asked for, %v; want %d, %d of %d, an end: %v", len(texts), len(missing), len(indexed), err, try.reports, try.missing, try.indexes, try.ends)
			}
		})
	}
}

// TestClairHostile shows answers of Clair that would look like a clean scan.
func TestClairHostile(t *testing.T) {
	digest := "sha256:" + one
	good := fmt.Sprintf(`{"manifest_hash": %q, "success": true}`, digest)
	for name, try := range map[string]struct {
		index, report string
		status        int
		ends          bool
	}{
		"no vulnerabilities loaded yet": {good, "", http.StatusAccepted, true},
		"no content":                    {good, "", http.StatusNoContent, true},
		"gone between":                  {good, "", http.StatusNotFound, false},
		"no success":                    {fmt.Sprintf(`{"manifest_hash": %q}`, digest), good, http.StatusOK, false},
		"index of another":              {strings.ReplaceAll(good, one, two), good, http.StatusOK, false},
		"index that is none":            {`[]`, good, http.StatusOK, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := source(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/indexer/") {
					fmt.Fprint(w, try.index)
					return
				}
				w.WriteHeader(try.status)
				fmt.Fprint(w, try.report)
			})
			c.User, c.Password, c.Images = "", nil, []string{digest}
			texts, missing, err := fetched(t, openClair, c)
			if len(texts) != 0 || (err != nil) != try.ends || len(missing) == 1 == try.ends {
				t.Errorf("reports %v, missing %v, %v; want none, an end: %v", texts, missing, err, try.ends)
			}
		})
	}
}

// TestTrust asks a server whose certificate nobody signed for: it gets no password.
func TestTrust(t *testing.T) {
	c, _ := source(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked something") })
	c.TLS = nil
	if _, _, err := fetched(t, openQualys, c); err == nil || !strings.Contains(err.Error(), "--ca") {
		t.Errorf("the error is %v; want one that says --ca", err)
	}
}

// TestEnd shows that a context which ends stops all waiting.
func TestEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, _ := source(t, func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		w.Header().Set("Retry-After", "3000")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	c.Wait = nil
	reports, err := openQualys(c)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range reports(ctx) {
		if n++; err == nil || ctx.Err() == nil {
			t.Errorf("the error is %v, of the context %v; want both", err, ctx.Err())
		}
	}
	if n != 1 {
		t.Errorf("%d errors; want one", n)
	}
}

// TestOpen refuses what cannot be meant before anything is asked.
func TestOpen(t *testing.T) {
	at := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	secret := func() (string, error) { return password, nil }
	good := at("https://clair.example")
	for name, try := range map[string]struct {
		open func(Config) (Reports, error)
		Config
	}{
		"no address":          {openClair, Config{Images: []string{"sha256:" + one}}},
		"no TLS":              {openClair, Config{URL: at("http://clair.example"), Images: []string{"sha256:" + one}}},
		"a password in it":    {openClair, Config{URL: at("https://me:" + url.QueryEscape(password) + "@clair.example"), Images: []string{"sha256:" + one}}},
		"no image":            {openClair, Config{URL: good}},
		"a tag":               {openClair, Config{URL: good, Images: []string{"registry.example/api:1"}}},
		"a path":              {openClair, Config{URL: good, Images: []string{"sha256:" + one + "/../x"}}},
		"a key of nobody":     {openClair, Config{URL: good, Images: []string{"sha256:" + one}, Password: secret}},
		"nobody":              {openQualys, Config{URL: good}},
		"no password":         {openQualys, Config{URL: good, User: "ringfence"}},
		"no cluster to be in": {openOperator, Config{}},
	} {
		if _, err := try.open(try.Config); err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error is %v; want one, without the password", name, err)
		}
	}
}
