// Prints the arm of each line of standard input.
package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"driver/assignment"
)

func number(text string) uint64 {
	value, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		var arms []assignment.Arm
		for at := 4; at < len(fields); at += 2 {
			arms = append(arms, assignment.Arm{Name: fields[at], Share: number(fields[at+1])})
		}
		arm := assignment.ArmOf(fields[0], fields[1], fields[2], number(fields[3]), arms)
		if arm == "" {
			arm = "-"
		}
		fmt.Println(arm)
	}
}
