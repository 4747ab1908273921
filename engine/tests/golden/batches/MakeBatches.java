// Writes one record batch per codec with the Java client, as hexadecimal text. Made with kafka-clients 4.3.1:
//   javac -cp 'libs/*' MakeBatches.java && java -cp 'libs/*:.' MakeBatches engine/tests/golden/batches
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.record.internal.SimpleRecord;

public class MakeBatches {
    static final Header[] NO_HEADERS = {};

    static SimpleRecord[] records(boolean large) {
        List<SimpleRecord> records = new ArrayList<>();
        records.add(new SimpleRecord(1700000000000L, "k1".getBytes(), "v1".getBytes(), NO_HEADERS));
        records.add(new SimpleRecord(1600000000000L, null, "older by years".getBytes(), new Header[] {
            new RecordHeader("a", "1".getBytes()), new RecordHeader("a", "2".getBytes()),
            new RecordHeader("n", (byte[]) null), new RecordHeader("e", new byte[0])}));
        records.add(new SimpleRecord(1700000000001L, "tombstone".getBytes(), null, NO_HEADERS));
        records.add(new SimpleRecord(1700000000002L, new byte[0], new byte[0], NO_HEADERS));
        if (large) { // several snappy and LZ4 blocks
            byte[] value = new byte[70000];
            Arrays.fill(value, (byte) 'x');
            records.add(new SimpleRecord(1700000000003L, "large".getBytes(), value, NO_HEADERS));
        }
        return records.toArray(new SimpleRecord[0]);
    }

    public static void main(String[] args) throws Exception {
        for (CompressionType type : CompressionType.values()) {
            MemoryRecords batch = MemoryRecords.withIdempotentRecords(RecordBatch.MAGIC_VALUE_V2, 42L,
                Compression.of(type).build(), 4000L, (short) 3, 17, 5, records(type != CompressionType.NONE));
            ByteBuffer buffer = batch.buffer();
            byte[] bytes = new byte[buffer.remaining()];
            buffer.get(bytes);
            String hex = HexFormat.of().formatHex(bytes);
            Files.writeString(Path.of(args[0], type.name + ".hex"), hex.replaceAll("(.{120})", "$1\n").strip() + "\n");
        }
    }
}
