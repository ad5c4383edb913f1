// Package assignment tells which arm of an experiment a user gets.  Copy it into a frontend in Go.
package assignment

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Arm has a name, and how many of 10,000 users get it.
type Arm struct {
	Name  string
	Share uint64
}

// ArmOf returns a user's arm, "" for a user outside.  The shares sum to 10,000.
func ArmOf(salt, experiment, userID string, traffic uint64, arms []Arm) string {
	digest := sha256.Sum256([]byte(salt + "\x00" + experiment + "\x00" + userID))
	place, _ := bits.Mul64(binary.BigEndian.Uint64(digest[0:8]), 10_000)
	left, _ := bits.Mul64(binary.BigEndian.Uint64(digest[8:16]), 10_000)
	if place >= traffic {
		return ""
	}
	for _, arm := range arms {
		if left < arm.Share {
			return arm.Name
		}
		left -= arm.Share
	}
	panic("the shares do not sum to 10,000")
}
