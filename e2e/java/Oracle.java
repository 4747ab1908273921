import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

import java.io.*;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.zip.CRC32C;

/**
 * Reads every committed record of all topics whose names begin with a prefix, from the first offset on, and writes down
 * what it sees. A topic is known by its id, so that a topic that is created again is another log.
 *
 * The file has one line for each fact, with blanks between the fields:
 * <pre>
 * T log topic id                                     a topic is followed; `log` numbers it in the lines below
 * R log partition generation offset seen_ms crc key  a record; CRC-32C of its payload, key in hexadecimal or `-`,
 *                                                    `tombstone` or `value`
 * J log partition from to at_ms                      the log start was moved over the reader: these offsets are unknown
 * D log partition generation offset at_ms            the log was truncated to the offset, and this generation begins there
 * L log partition before_ms after_ms start high stable   offsets of the log, asked for between the two moments
 * X log at_ms                                        the topic is not followed any more
 * E partition-less text                              an error that was survived
 * </pre>
 */
final class Oracle {
    private record Log(int number, String topic, Uuid id) {}

    private static final Duration POLL = Duration.ofMillis(50);
    private static final long LOOK_MS = 250;
    private static final long CATCH_UP_MS = 90_000;

    private final Map<String, Object> cluster;
    private final String prefix;
    private final Admin admin;
    private final Writer file;
    private final KafkaConsumer<byte[], byte[]> consumer;
    private final Thread reader = new Thread(this::read, "oracle-reader");
    private final Thread looker = new Thread(this::look, "oracle-looker");
    private final Queue<FutureTask<Void>> tasks = new ConcurrentLinkedQueue<>();
    private final Set<Uuid> forgotten = ConcurrentHashMap.newKeySet();
    private final Map<String, Log> logs = new ConcurrentHashMap<>();
    private final Map<TopicPartition, Integer> generations = new HashMap<>();
    private volatile boolean isLooking = true;
    private volatile boolean isReading = true;
    private volatile long records;
    private int nextLog;

    Oracle(Map<String, Object> cluster, String prefix, Path path) throws IOException {
        this.cluster = cluster;
        this.prefix = prefix;
        admin = Admin.create(cluster);
        file = new BufferedWriter(new OutputStreamWriter(Files.newOutputStream(path), StandardCharsets.US_ASCII), 1 << 18);
        Map<String, Object> properties = new HashMap<>(cluster);
        properties.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
        properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "none");
        properties.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        properties.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, "50");
        properties.put(ConsumerConfig.METADATA_MAX_AGE_CONFIG, "1000");
        properties.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, "5000");
        consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
        reader.setDaemon(true);
        looker.setDaemon(true);
        reader.start();
        looker.start();
    }

    /** Ends the following of a topic that is about to be deleted; what it held until then is in the file. */
    void forget(String topic, Uuid id) throws Exception {
        onReader(() -> {
            // Also if it was not found yet.
            forgotten.add(id);
            Log log = logs.remove(topic);
            if (log == null) return;
            Set<TopicPartition> left = new HashSet<>(consumer.assignment());
            left.removeIf(partition -> partition.topic().equals(topic));
            consumer.assign(left);
            generations.keySet().removeIf(partition -> partition.topic().equals(topic));
            line("X " + log.number + " " + System.currentTimeMillis());
        });
    }

    /** Waits until everything is read that is committed by now, and ends; how many records there were. */
    long stop() throws Exception {
        long deadline = System.currentTimeMillis() + CATCH_UP_MS;
        while (!hasCaughtUp()) {
            if (System.currentTimeMillis() > deadline) throw new TimeoutException("the oracle does not catch up");
            Thread.sleep(100);
        }
        isLooking = false;
        looker.join();
        isReading = false;
        reader.join();
        consumer.close(CloseOptions.timeout(Duration.ofSeconds(5)));
        admin.close(Duration.ofSeconds(5));
        file.close();
        return records;
    }

    private boolean hasCaughtUp() throws Exception {
        try {
            Map<TopicPartition, Long> positions = new HashMap<>();
            Map<TopicPartition, OffsetSpec> wanted = new HashMap<>();
            onReader(() -> {
                for (TopicPartition partition : consumer.assignment()) {
                    positions.put(partition, consumer.position(partition, Duration.ofSeconds(1)));
                    wanted.put(partition, OffsetSpec.latest());
                }
            });
            var ends = admin.listOffsets(wanted, new ListOffsetsOptions(IsolationLevel.READ_COMMITTED)).all().get();
            return positions.entrySet().stream().allMatch(entry -> entry.getValue() >= ends.get(entry.getKey()).offset());
        } catch (ExecutionException notNow) {
            return false;
        }
    }

    private interface Work {
        void run() throws Exception;
    }

    private void onReader(Work work) throws Exception {
        FutureTask<Void> task = new FutureTask<>(() -> {
            work.run();
            return null;
        });
        tasks.add(task);
        task.get(60, TimeUnit.SECONDS);
    }

    private void line(String text) throws IOException {
        synchronized (file) {
            file.write(text);
            file.write('\n');
        }
    }

    // --- the reader ---

    private void read() {
        while (isReading) {
            try {
                for (FutureTask<Void> task = tasks.poll(); task != null; task = tasks.poll()) task.run();
                if (consumer.assignment().isEmpty()) {
                    Thread.sleep(10);
                    continue;
                }
                ConsumerRecords<byte[], byte[]> found = consumer.poll(POLL);
                long seenMs = System.currentTimeMillis();
                for (ConsumerRecord<byte[], byte[]> record : found) write(record, seenMs);
                records += found.count();
            } catch (OffsetOutOfRangeException moved) {
                survive(() -> move(moved));
            } catch (Exception error) {
                survive(() -> line("E " + String.valueOf(error).replaceAll("\\s+", " ")));
            }
        }
    }

    private void survive(Work work) {
        try {
            work.run();
        } catch (Exception error) {
            System.err.println(error);
        }
    }

    /**
     * Whether the record's own value says that its transaction is aborted, as `load.rs` has it: brokers do not list every aborted
     * transaction (engine/src/backup/unlisted.rs), and then this consumer takes its records for committed ones.
     */
    private static boolean isAborted(ConsumerRecord<byte[], byte[]> record) {
        return record.value() != null && new String(record.value(), StandardCharsets.ISO_8859_1).contains("fate=aborted");
    }

    private void write(ConsumerRecord<byte[], byte[]> record, long seenMs) throws IOException {
        if (isAborted(record)) return;
        Log log = logs.get(record.topic());
        if (log == null) return;
        ByteArrayOutputStream payload = new ByteArrayOutputStream();
        new Witness.Record(record).writePayload(new DataOutputStream(payload));
        CRC32C crc = new CRC32C();
        crc.update(payload.toByteArray());
        int generation = generations.getOrDefault(new TopicPartition(record.topic(), record.partition()), 0);
        line("R " + log.number + " " + record.partition() + " " + generation + " " + record.offset() + " " + seenMs + " "
            + Long.toHexString(crc.getValue()) + " " + (record.key() == null ? "-" : HexFormat.of().formatHex(record.key()))
            + (record.value() == null ? " tombstone" : " value"));
    }

    /** The log starts after the reader's position, or it was truncated before it. */
    private void move(OffsetOutOfRangeException moved) throws IOException {
        long atMs = System.currentTimeMillis();
        Map<TopicPartition, OffsetAndMetadata> divergent =
            moved instanceof LogTruncationException truncated ? truncated.divergentOffsets() : Map.of();
        Set<TopicPartition> partitions = new HashSet<>(moved.offsetOutOfRangePartitions().keySet());
        partitions.addAll(divergent.keySet());
        Map<TopicPartition, Long> starts = consumer.beginningOffsets(partitions, Duration.ofSeconds(20));
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions, Duration.ofSeconds(20));
        for (TopicPartition partition : partitions) {
            Log log = logs.get(partition.topic());
            long position = moved.offsetOutOfRangePartitions().getOrDefault(partition, 0L);
            long start = starts.get(partition);
            OffsetAndMetadata known = divergent.get(partition);
            long to;
            if (!divergent.isEmpty() || position > ends.get(partition)) {
                // Without a known end of what both logs share, nothing that was read is certain.
                to = known == null ? start : Math.max(known.offset(), start);
                int generation = generations.merge(partition, 1, Integer::sum);
                line("D " + log.number + " " + partition.partition() + " " + generation + " " + to + " " + atMs);
            } else {
                to = start;
                line("J " + log.number + " " + partition.partition() + " " + position + " " + to + " " + atMs);
            }
            consumer.seek(partition, to);
        }
    }

    // --- the looker ---

    /** Finds new topics and partitions, and writes down where the logs begin and end. */
    private void look() {
        while (isLooking) {
            try {
                discover();
                sample();
                synchronized (file) {
                    file.flush();
                }
                Thread.sleep(LOOK_MS);
            } catch (Exception error) {
                survive(() -> line("E " + String.valueOf(error).replaceAll("\\s+", " ")));
            }
        }
    }

    private void discover() throws Exception {
        List<String> names = admin.listTopics().names().get().stream().filter(name -> name.startsWith(prefix)).toList();
        for (var described : admin.describeTopics(names).topicNameValues().values()) {
            TopicDescription topic;
            try {
                topic = described.get();
            } catch (ExecutionException deletedMeanwhile) {
                continue;
            }
            if (forgotten.contains(topic.topicId())) continue;
            List<TopicPartition> added = topic.partitions().stream().filter(Oracle::hasLeader)
                .map(partition -> new TopicPartition(topic.name(), partition.partition())).toList();
            onReader(() -> follow(topic, added));
        }
    }

    private static boolean hasLeader(TopicPartitionInfo partition) {
        return partition.leader() != null && !partition.leader().isEmpty();
    }

    private void follow(TopicDescription topic, List<TopicPartition> found) throws IOException {
        Log log = logs.get(topic.name());
        if (forgotten.contains(topic.topicId())) return;
        if (log == null) {
            log = new Log(nextLog++, topic.name(), topic.topicId());
            logs.put(topic.name(), log);
            line("T " + log.number + " " + topic.name() + " " + topic.topicId());
        } else if (!log.id.equals(topic.topicId())) {
            // Nobody deletes a topic without a word to us before.
            throw new IllegalStateException(topic.name() + " was replaced unnoticed");
        }
        Set<TopicPartition> all = new HashSet<>(consumer.assignment());
        List<TopicPartition> added = found.stream().filter(partition -> !all.contains(partition)).toList();
        if (added.isEmpty()) return;
        all.addAll(added);
        consumer.assign(all);
        consumer.seekToBeginning(added);
    }

    private void sample() throws Exception {
        Map<TopicPartition, Log> wanted = new HashMap<>();
        onReader(() -> {
            for (TopicPartition partition : consumer.assignment()) wanted.put(partition, logs.get(partition.topic()));
        });
        long beforeMs = System.currentTimeMillis();
        var starts = admin.listOffsets(specs(wanted, OffsetSpec.earliest()));
        var highs = admin.listOffsets(specs(wanted, OffsetSpec.latest()));
        var stables = admin.listOffsets(specs(wanted, OffsetSpec.latest()), new ListOffsetsOptions(IsolationLevel.READ_COMMITTED));
        List<String> lines = new ArrayList<>();
        for (var entry : wanted.entrySet()) {
            try {
                lines.add(entry.getValue().number + " " + entry.getKey().partition() + " " + beforeMs + " @ "
                    + starts.partitionResult(entry.getKey()).get().offset() + " "
                    + highs.partitionResult(entry.getKey()).get().offset() + " "
                    + stables.partitionResult(entry.getKey()).get().offset());
            } catch (ExecutionException noLeaderNow) {
                // The next round asks again.
            }
        }
        String afterMs = Long.toString(System.currentTimeMillis());
        for (String text : lines) {
            // A topic that was forgotten meanwhile may be another by now.
            if (logs.values().stream().anyMatch(log -> text.startsWith(log.number + " "))) line("L " + text.replace("@", afterMs));
        }
    }

    private static Map<TopicPartition, OffsetSpec> specs(Map<TopicPartition, Log> wanted, OffsetSpec spec) {
        Map<TopicPartition, OffsetSpec> specs = new HashMap<>();
        wanted.keySet().forEach(partition -> specs.put(partition, spec));
        return specs;
    }
}
