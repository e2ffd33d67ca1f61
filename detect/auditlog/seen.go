package auditlog

import (
	"crypto/sha256"
	"encoding/json"
	"sync"
)

// maxSeen is how many events are remembered: more than the 10,000 that an API server queues and the 400 under way, so
// that all it may send again is known. 16 bytes each.
const maxSeen = 16_384

// seen remembers the latest events. The zero value is ready and safe for many goroutines.
type seen struct {
	mu    sync.Mutex // guards what follows
	known map[[16]byte]bool
	ring  [][16]byte
	next  int
}

// eventKey stands for one event. Audit id and stage would be enough, could a client not choose its audit id: then one id on
// all its requests would hide all but the first. So the key is the whole event. ok is false for what cannot be told apart.
func eventKey(e Event) (key [16]byte, ok bool) {
	text, err := json.Marshal(e)
	if err != nil {
		return key, false
	}
	sum := sha256.Sum256(text)
	return [16]byte(sum[:16]), true
}

// has reports whether an event was seen before.
func (s *seen) has(key [16]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[key]
}

// add remembers events.
func (s *seen) add(keys ...[16]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[[16]byte]bool{}
	}
	for _, key := range keys {
		if s.known[key] {
			continue
		}
		if len(s.ring) < maxSeen {
			s.ring = append(s.ring, key)
		} else {
			delete(s.known, s.ring[s.next])
			s.ring[s.next] = key
			s.next = (s.next + 1) % maxSeen
		}
		s.known[key] = true
	}
}
