import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** Prints the partition that Kafka's Java producer chooses for each key: one a line in hexadecimal on the input. */
class Partitions {
    public static void main(String[] arguments) throws Exception {
        int partitions = Integer.parseInt(arguments[0]);
        StringBuilder chosen = new StringBuilder();
        BufferedReader keys = new BufferedReader(new InputStreamReader(System.in));
        for (String key = keys.readLine(); key != null; key = keys.readLine()) {
            chosen.append(BuiltInPartitioner.partitionForKey(HexFormat.of().parseHex(key), partitions)).append('\n');
        }
        System.out.print(chosen);
    }
}
