package faults

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringfence.dev/ringfence/admission"
)

// slowest is how many slow clients there are, where the machine lets one process have so many files: both ends are here.
const slowest = 10_000

// slowClients: beside thousands of connections that say nothing, begin a handshake and do not end it, or send a byte of a
// request a second, real requests are answered at once, and memory stays bounded.
func (b *bed) slowClients(t *testing.T) {
	address := *b.front.target.Load()
	n := slowest
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if most := (int(files.Cur) - 1000) * 2 / 3; n > most { // a connection that the door closed has one end left, the others two
		n = most
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var begun atomic.Int64
	room := make(chan struct{}, 200) // so many dial at once
	for i := range n {
		room <- struct{}{}
		clients.Go(func() {
			c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", address)
			<-room
			if err != nil {
				return
			}
			defer c.Close()
			begun.Add(1)
			slow(ctx, c, i)
		})
	}
	slowestAnswer, asked := time.Duration(0), 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); asked++ {
		at := time.Now()
		if err := b.good(t.Context(), "team-dev"); err != nil {
			t.Errorf("beside %d slow clients: %v", begun.Load(), err)
			break
		}
		slowestAnswer = max(slowestAnswer, time.Since(at))
	}
	fresh, cancel := context.WithTimeout(t.Context(), 5*time.Second) // not on the connection that the API server had before
	defer cancel()
	c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(fresh, "tcp", address)
	if err != nil {
		t.Errorf("a new connection beside them: %v", err)
	} else {
		c.Close()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	stop()
	clients.Wait()
	grown := (int64(after.HeapInuse+after.StackInuse) - int64(before.HeapInuse+before.StackInuse)) >> 20
	t.Logf("%d slow clients of %d that files allow, %d requests beside them, the slowest %v; %d MiB more, their ends included", begun.Load(), n, asked, slowestAnswer.Round(time.Millisecond), grown)
	if begun.Load() < int64(n)*9/10 || asked == 0 || slowestAnswer > 5*time.Second || grown > 256 {
		t.Error("want nine of ten connected, every answer within 5 s, and at most 256 MiB")
	}
}

// slow is one slow client of three sorts, until the door ends it or ctx does.
func slow(ctx context.Context, c net.Conn, sort int) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	switch sort % 20 {
	case 0: // TLS, and then a byte of a request a second
		secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		if secure.HandshakeContext(ctx) != nil {
			return
		}
		for _, b := range []byte(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 7000000\r\n", admission.Path)) {
			if _, err := secure.Write([]byte{b}); err != nil {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
		}
	case 1, 2, 3, 4, 5, 6, 7, 8, 9: // the beginning of a handshake
		_, _ = c.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01})
	}
	_, _ = c.Read(make([]byte, 1)) // until the other end closes
}
