import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/** Prints the arm of each line of standard input. */
final class Driver {
    public static void main(String[] arguments) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] fields = line.split("\t", -1);
            List<Assignment.Arm> arms = new ArrayList<>();
            for (int at = 4; at < fields.length; at += 2) {
                arms.add(new Assignment.Arm(fields[at], Integer.parseInt(fields[at + 1])));
            }
            int traffic = Integer.parseInt(fields[3]);
            String arm = Assignment.armOf(fields[0], fields[1], fields[2], traffic, arms);
            System.out.println(arm == null ? "-" : arm);
        }
    }
}
