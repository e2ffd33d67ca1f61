package syslog_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringfence.dev/ringfence/finding"
	"ringfence.dev/ringfence/forward"
	"ringfence.dev/ringfence/forward/syslog"
	"ringfence.dev/ringfence/internal/sinktest"
)

// receiver is a server of RFC 5425: it reads frames and answers nothing.
type receiver struct {
	net.Listener
	ca     string
	frames chan string
	// behave does with a connection what the test wants; nil reads frames until the end.
	behave atomic.Pointer[func(net.Conn)]
}

// does makes what comes next behave.
func (r *receiver) does(behave func(net.Conn)) { r.behave.Store(&behave) }

func listen(t *testing.T, change func(*tls.Config), behave func(net.Conn)) *receiver {
	t.Helper()
	lender := sinktest.Serve(t, nil) // its certificate is good for 127.0.0.1
	config := &tls.Config{Certificates: lender.TLS.Certificates}
	if change != nil {
		change(config)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{Listener: l, ca: sinktest.CA(t, lender), frames: make(chan string, 1000)}
	r.does(behave)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if behave := *r.behave.Load(); behave != nil {
					behave(c)
					return
				}
				r.read(c, 1<<30)
			}()
		}
	}()
	return r
}

// read reads at most n frames.
func (r *receiver) read(c net.Conn, n int) {
	in := bufio.NewReader(c)
	for range n {
		length, err := in.ReadString(' ')
		if err != nil {
			return
		}
		size, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		frame := make([]byte, size)
		if _, e := io.ReadFull(in, frame); err != nil || e != nil {
			r.frames <- fmt.Sprintf("bad frame: %q %v %v", length, err, e)
			return
		}
		r.frames <- string(frame)
	}
}

func (r *receiver) next(t *testing.T) string {
	t.Helper()
	select {
	case f := <-r.frames:
		return f
	case <-time.After(30 * time.Second):
		t.Fatal("no frame within 30 s")
		return ""
	}
}

func open(t *testing.T, r *receiver, change ...func(*syslog.Config)) *syslog.Sink {
	t.Helper()
	cfg := syslog.Config{Address: r.Addr().String()}
	cfg.TLS.CAFile = r.ca
	for _, c := range change {
		c(&cfg)
	}
	s, err := syslog.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestSend: frames of RFC 5425 around messages of RFC 5424.
func TestSend(t *testing.T) {
	r := listen(t, nil, nil)
	s := open(t, r)
	batch := sinktest.Batch(2)
	batch[1].Cluster, batch[1].Kind, batch[1].Severity = "", strings.Repeat("k", 40)+" é", 9
	if err := s.Send(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if got, want := r.next(t), `<107>1 2026-11-21T12:00:00.000000Z prod-1 ringfence - native-refusal.v1 - {"n":0,"text":"<b> & = | \\ é"}`; got != want {
		t.Errorf("frame = %s, want %s", got, want)
	}
	if got, want := r.next(t), `<111>1 2026-11-21T12:00:00.000000Z - ringfence - kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk - {"n":1,`; !strings.HasPrefix(got, want) {
		t.Errorf("frame = %s, want %s", got, want)
	}
	batch[1].Data = make([]byte, 8192)
	if fault := sinktest.Fault(t, s.Send(t.Context(), batch)); !fault.Refused || fault.At != 1 {
		t.Errorf("Send of a long message = %v at %d", fault, fault.At)
	}
}

// TestBroken: a server that closes after a batch does not make it count as taken; one that closes later gets the newest
// batch again before the next; a server that is gone is waited for.
func TestBroken(t *testing.T) {
	r := listen(t, nil, nil)
	r.does(func(c net.Conn) { r.read(c, 1) }) // and then it closes
	s := open(t, r)
	if fault := sinktest.Fault(t, s.Send(t.Context(), sinktest.Batch(1))); fault.Refused {
		t.Errorf("Send to a server that closes = %v", fault)
	}
	r.next(t)
	conns := make(chan net.Conn, 9)
	r.does(func(c net.Conn) { conns <- c; r.read(c, 1<<30) })
	if err := s.Send(t.Context(), sinktest.Batch(1)); err != nil {
		t.Fatal(err)
	}
	_ = (<-conns).Close()
	first := r.next(t)
	time.Sleep(time.Second) // the end of the connection arrives
	second := sinktest.Batch(2)[1:]
	if err := s.Send(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	if again, then := r.next(t), r.next(t); again != first || !strings.Contains(then, `"n":1`) {
		t.Errorf("after a break: %s, %s; want the first batch again and then the second", again, then)
	}
	_ = r.Close()
	_ = (<-conns).Close()
	time.Sleep(time.Second)
	if fault := sinktest.Fault(t, s.Send(t.Context(), second)); fault.Refused || !strings.Contains(fault.Error(), "connect") {
		t.Errorf("Send to nobody = %v", fault)
	}
}

// TestTLS: no unknown authority, no wrong name, no TLS 1.1; with a certificate of our own where the server asks for one.
func TestTLS(t *testing.T) {
	plain := listen(t, nil, nil)
	old := listen(t, func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, nil)
	for name, s := range map[string]*syslog.Sink{
		"unknown authority": open(t, plain, func(c *syslog.Config) { c.TLS.CAFile = "" }),
		"wrong name":        open(t, plain, func(c *syslog.Config) { c.TLS.ServerName = "logs.bank.example" }),
		"TLS 1.1":           open(t, old),
	} {
		if fault := sinktest.Fault(t, s.Send(t.Context(), sinktest.Batch(1))); fault.Refused {
			t.Errorf("%s: Send = %v", name, fault)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	mutual := listen(t, func(c *tls.Config) {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		c.ClientCAs.AddCert(cert)
	}, nil)
	ours := func(c *syslog.Config) {
		c.TLS.CertFile = sinktest.File(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		c.TLS.KeyFile = sinktest.File(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
	}
	if err := open(t, mutual, ours).Send(t.Context(), sinktest.Batch(1)); err != nil || mutual.next(t) == "" {
		t.Errorf("Send with a certificate = %v", err)
	}
	if fault := sinktest.Fault(t, open(t, mutual).Send(t.Context(), sinktest.Batch(1))); fault.Refused {
		t.Errorf("Send without a certificate = %v", fault)
	}
}

// unescape takes a line of CEF apart as its specification says a reader does.
func unescape(line string) (header []string, extension map[string]string) {
	rest := line
	for range 7 {
		i := regexp.MustCompile(`(^|[^\\])(\\\\)*\|`).FindStringIndex(rest)
		header = append(header, strings.NewReplacer(`\|`, `|`, `\\`, `\`).Replace(rest[:i[1]-1]))
		rest = rest[i[1]:]
	}
	extension = map[string]string{}
	keys := regexp.MustCompile(`(?:^| )([A-Za-z0-9]+)=`).FindAllStringSubmatchIndex(rest, -1)
	for n, k := range keys {
		end := len(rest)
		if n+1 < len(keys) {
			end = keys[n+1][0]
		}
		extension[rest[k[2]:k[3]]] = strings.NewReplacer(`\=`, `=`, `\n`, "\n", `\r`, "\r", `\\`, `\`).Replace(rest[k[1]:end])
	}
	return header, extension
}

// TestCEF: exact lines, and hostile texts that come back as they were.
func TestCEF(t *testing.T) {
	r := sinktest.Record(3, "native-refusal.v1", `{"actor":{"ref":"u-1f"},"operation":"CREATE","subject":{"namespace":"pay-prod"},"refused":true,"findings":[
		{"control":"RF-WL-01","title":"No | privileged \\ pod = x","severity":"high","outcome":"Fail","message":"a|b\\c=d cs1=evil\nnew","found":"true","path":"/spec","fix":"f",
		 "subject":{"kind":"Pod","namespace":"pay-prod","name":"web"}}]}`)
	ms, err := syslog.CEF(nil)(r)
	if err != nil || len(ms) != 1 {
		t.Fatalf("CEF = %v, %v", ms, err)
	}
	const want = `CEF:0|Ringfence|Ringfence|1|RF-WL-01|No \| privileged \\ pod = x|8|rt=1795262403000 cat=native-refusal.v1 dvchost=prod-1 deviceProcessName=audit act=create outcome=Refused suser=u-1f` +
		` cs1Label=messageId cs1=r-0003.0 cs2Label=namespace cs2=pay-prod cs3Label=object cs3=Pod/web cs4Label=found cs4=true cs5Label=path cs5=/spec cs6Label=fix cs6=f cn1Label=seq cn1=4 msg=a|b\\c\=d cs1\=evil`
	if got := string(ms[0].Data); !strings.HasPrefix(got, want) || strings.ContainsAny(got, "\n\r") || ms[0].ID != "r-0003.0" || ms[0].Severity != 3 {
		t.Errorf("CEF = %s\nwant  %s", got, want)
	}
	header, extension := unescape(string(ms[0].Data))
	if !slices.Equal(header, []string{"CEF:0", "Ringfence", "Ringfence", "1", "RF-WL-01", `No | privileged \ pod = x`, "8"}) || extension["cs1"] != "r-0003.0" ||
		extension["msg"] != finding.Clean("a|b\\c=d cs1=evil\nnew") {
		t.Errorf("read back: %q %q", header, extension)
	}
}

// TestLong: however long its texts are, a message is one that every receiver takes.
func TestLong(t *testing.T) {
	long := strings.Repeat(`=|\\é`, 4000)
	r := sinktest.Record(0, "native-refusal.v1", `{"user":"`+long+`","findings":[{"control":"`+long+`","title":"`+long+`","message":"`+long+`","found":"`+long+
		`","path":"`+long+`","fix":"`+long+`","severity":"low","subject":{"kind":"`+long+`","name":"`+long+`","namespace":"`+long+`"}}]}`)
	ms, err := syslog.CEF(nil)(r)
	if err != nil {
		t.Fatal(err)
	}
	rec := listen(t, nil, nil)
	if err := open(t, rec).Send(t.Context(), ms); err != nil {
		t.Errorf("Send = %v, of %d bytes", err, len(ms[0].Data))
	}
}

// FuzzCEF: whatever a body holds, there is no panic, no second line, and the same message each time.
func FuzzCEF(f *testing.F) {
	f.Add(`{"findings":[{"title":"a|b\n"}],"user":"\\="}`)
	f.Add(`{"findings":[1,null,{"observed":{}}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		r := sinktest.Record(0, "native-refusal.v1", body)
		a, err := syslog.CEF(nil)(r)
		b, _ := syslog.CEF(nil)(r)
		if (err == nil) != (len(a) > 0) || len(a) != len(b) {
			t.Fatalf("CEF = %d messages, %v", len(a), err)
		}
		for i, m := range a {
			if strings.ContainsAny(string(m.Data), "\r\n") || string(m.Data) != string(b[i].Data) {
				t.Errorf("CEF = %q", m.Data)
			}
			if header, _ := unescape(string(m.Data)); len(header) != 7 {
				t.Errorf("header = %q", header)
			}
		}
	})
}

var _ forward.Sink = (*syslog.Sink)(nil)
