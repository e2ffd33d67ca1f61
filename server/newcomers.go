package server

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// maxNewcomers is how many connections of one listener may be without a whole request at once. An API server has a handful, each
// for a moment; at 5 seconds each (ReadHeaderTimeout) this many take 200 new ones a second, and 30 MB with their TLS state.
const maxNewcomers = 1024

// newcomers are the connections on which no request has come whole yet. When there are more than may be, the oldest is
// closed: whoever opens connections and says nothing takes room from its own kind, not from an API server, which speaks at
// once, and never all files and all memory of the process, which the ledger needs.
type newcomers struct {
	most int

	mu    sync.Mutex // guards what follows
	order *list.List // of net.Conn, the oldest first
	at    map[net.Conn]*list.Element
}

func newNewcomers(most int) *newcomers {
	return &newcomers{most: most, order: list.New(), at: map[net.Conn]*list.Element{}}
}

// changed is a ConnState of http.Server, which calls it with StateNew before it reads and with another once a request is there.
func (n *newcomers) changed(c net.Conn, state http.ConnState) {
	var oldest net.Conn
	n.mu.Lock()
	if e, ok := n.at[c]; ok && state != http.StateNew {
		n.order.Remove(e)
		delete(n.at, c)
	}
	if state == http.StateNew {
		n.at[c] = n.order.PushBack(c)
		if n.order.Len() > n.most {
			e := n.order.Front()
			oldest = n.order.Remove(e).(net.Conn)
			delete(n.at, oldest)
		}
	}
	n.mu.Unlock()
	if oldest != nil {
		end(oldest)
	}
}

// end closes a connection at once: over TLS a farewell would wait for a handshake that may never end.
func end(c net.Conn) {
	if tls, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = tls.NetConn()
	}
	_ = c.Close()
}
