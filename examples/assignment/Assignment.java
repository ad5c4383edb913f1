import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.List;

/** Which arm of an experiment a user gets.  Copy it into a frontend in Java. */
public final class Assignment {
    /** An arm, and how many of 10,000 users get it. */
    public record Arm(String name, int share) {}

    /** Returns a user's arm, null for a user outside; the shares sum to 10,000. */
    public static String armOf(
            String salt, String experiment, String userId, int traffic, List<Arm> arms)
            throws NoSuchAlgorithmException {
        byte[] text = (salt + "\0" + experiment + "\0" + userId).getBytes(StandardCharsets.UTF_8);
        ByteBuffer digest = ByteBuffer.wrap(MessageDigest.getInstance("SHA-256").digest(text));
        if (place(digest.getLong(0)) >= traffic) return null;
        long left = place(digest.getLong(8));
        for (Arm arm : arms) {
            if (left < arm.share()) return arm.name();
            left -= arm.share();
        }
        throw new IllegalArgumentException("the shares do not sum to 10,000");
    }

    /** The upper 64 bits of an unsigned number times 10,000, by halves. */
    private static long place(long number) {
        return ((number >>> 32) * 10_000 + ((number & 0xffffffffL) * 10_000 >>> 32)) >>> 32;
    }
}
