import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;

import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.requests.AbstractResponse;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.ProduceResponse;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.resource.*;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.ByteBufferOutputStream;
import org.apache.kafka.common.utils.ByteUtils;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;

import java.io.*;
import java.lang.reflect.Field;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

/**
 * A Kafka client that is not ours, held by the harness over standard input and output: one JSON request a line, one
 * JSON reply a line, in any order, told apart by their ids. Requests run side by side. Records pass through files in
 * the form that e2e/src/dump.rs describes.
 *
 * It ends at once when its standard input does, so that nothing outlives the harness and open transactions stay open.
 */
public final class Witness {
    private interface Command {
        Object run(JsonNode request) throws Exception;
    }

    private static final ObjectMapper JSON = new ObjectMapper();
    private static final Map<String, Command> COMMANDS = new HashMap<>();
    private static final Map<Map<String, Object>, Admin> ADMINS = new ConcurrentHashMap<>();
    private static final Map<String, KafkaProducer<byte[], byte[]>> PRODUCERS = new ConcurrentHashMap<>();
    private static final Map<String, Member> MEMBERS = new ConcurrentHashMap<>();
    private static final Map<String, Application> APPLICATIONS = new ConcurrentHashMap<>();
    private static final Map<String, Oracle> ORACLES = new ConcurrentHashMap<>();
    private static final Map<String, Transform> TRANSFORMS = new ConcurrentHashMap<>();
    private static final Duration POLL = Duration.ofMillis(100);
    private static final long PATIENCE_MS = 120_000;

    static {
        COMMANDS.put("create_topics", Witness::createTopics);
        COMMANDS.put("create_partitions", Witness::createPartitions);
        COMMANDS.put("delete_topics", Witness::deleteTopics);
        COMMANDS.put("describe_topics", Witness::describeTopics);
        COMMANDS.put("alter_configs", Witness::alterConfigs);
        COMMANDS.put("move_leader", Witness::moveLeader);
        COMMANDS.put("begin_reassignment", Witness::beginReassignment);
        COMMANDS.put("elect_unclean", Witness::electUnclean);
        COMMANDS.put("offsets", Witness::offsets);
        COMMANDS.put("delete_records", Witness::deleteRecords);
        COMMANDS.put("allow", Witness::allow);
        COMMANDS.put("set_password", Witness::setPassword);
        COMMANDS.put("open_producer", Witness::openProducer);
        COMMANDS.put("close_producer", Witness::closeProducer);
        COMMANDS.put("begin_transaction", request -> producerCall(request, KafkaProducer::beginTransaction));
        COMMANDS.put("commit_in_transaction", request -> producerCall(request, producer -> producer.sendOffsetsToTransaction(
            commits(request.get("offsets")), new ConsumerGroupMetadata(request.get("group").asText()))));
        COMMANDS.put("commit_transaction", request -> producerCall(request, KafkaProducer::commitTransaction));
        COMMANDS.put("abort_transaction", request -> producerCall(request, KafkaProducer::abortTransaction));
        COMMANDS.put("produce", Witness::produce);
        COMMANDS.put("produce_batch", Witness::produceBatch);
        COMMANDS.put("generate", Witness::generate);
        COMMANDS.put("consume", Witness::consume);
        COMMANDS.put("next_records", Witness::nextRecords);
        COMMANDS.put("commit_offsets", Witness::commitOffsets);
        COMMANDS.put("group_offsets", Witness::groupOffsets);
        COMMANDS.put("list_groups", Witness::listGroups);
        COMMANDS.put("describe_group", Witness::describeGroup);
        COMMANDS.put("delete_group", Witness::deleteGroup);
        COMMANDS.put("join_group", Witness::joinGroup);
        COMMANDS.put("commit_as_member", Witness::commitAsMember);
        COMMANDS.put("leave_group", Witness::leaveGroup);
        COMMANDS.put("start_streams", Witness::startStreams);
        COMMANDS.put("streams_values", request -> streams(request).values);
        COMMANDS.put("stop_streams", Witness::stopStreams);
        COMMANDS.put("start_oracle", Witness::startOracle);
        COMMANDS.put("oracle_forget", Witness::oracleForget);
        COMMANDS.put("stop_oracle", request -> ORACLES.remove(request.get("oracle").asText()).stop());
        COMMANDS.put("start_transform", Witness::startTransform);
        COMMANDS.put("stop_transform", Witness::stopTransform);
        COMMANDS.put("share_values", Witness::shareValues);
        COMMANDS.put("share_offsets", Witness::shareOffsets);
    }

    public static void main(String[] arguments) throws IOException {
        PrintStream replies = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        System.setOut(System.err);
        ExecutorService threads = Executors.newCachedThreadPool();
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            JsonNode request = JSON.readTree(line);
            threads.execute(() -> {
                ObjectNode reply = JSON.createObjectNode();
                reply.set("id", request.get("id"));
                try {
                    Command command = COMMANDS.get(request.get("command").asText());
                    if (command == null) throw new IllegalArgumentException("no such command");
                    reply.set("result", JSON.valueToTree(command.run(request)));
                } catch (Throwable thrown) {
                    reply.put("error", describe(thrown));
                }
                synchronized (replies) {
                    replies.println(reply);
                    replies.flush();
                }
            });
        }
        // The folder for the files that records pass through.
        try (var files = Files.walk(Path.of(arguments[0]))) {
            files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
        } catch (IOException | UncheckedIOException gone) {
            System.err.println(gone);
        }
        Runtime.getRuntime().halt(0);
    }

    private static String describe(Throwable thrown) {
        Throwable cause = thrown;
        while (cause instanceof ExecutionException && cause.getCause() != null) cause = cause.getCause();
        StringBuilder text = new StringBuilder(cause.getClass().getSimpleName() + ": " + cause.getMessage());
        for (cause = cause.getCause(); cause != null; cause = cause.getCause()) {
            text.append(": ").append(cause.getClass().getSimpleName()).append(": ").append(cause.getMessage());
        }
        return text.toString();
    }

    // --- what requests hold ---

    private static Map<String, Object> map(JsonNode node) {
        Map<String, Object> properties = new TreeMap<>();
        if (node != null) node.properties().forEach(field -> properties.put(field.getKey(), field.getValue().asText()));
        return properties;
    }

    private static Admin admin(JsonNode request) {
        return ADMINS.computeIfAbsent(map(request.get("cluster")), Admin::create);
    }

    private static List<String> strings(JsonNode node) {
        List<String> strings = new ArrayList<>();
        node.forEach(item -> strings.add(item.asText()));
        return strings;
    }

    private static TopicPartition partition(JsonNode node) {
        return new TopicPartition(node.get("topic").asText(), node.get("partition").asInt());
    }

    private static Map<TopicPartition, Long> positions(JsonNode node) {
        Map<TopicPartition, Long> positions = new LinkedHashMap<>();
        node.forEach(item -> positions.put(partition(item), item.get("offset").asLong()));
        return positions;
    }

    private static Map<String, Object> position(TopicPartition partition, long offset) {
        Map<String, Object> position = new LinkedHashMap<>();
        position.put("topic", partition.topic());
        position.put("partition", partition.partition());
        position.put("offset", offset);
        return position;
    }

    private static void await(String what, Callable<Boolean> isDone) throws Exception {
        long deadline = System.nanoTime() + PATIENCE_MS * 1_000_000;
        while (!isDone.call()) {
            if (System.nanoTime() > deadline) throw new TimeoutException(what + " did not happen in " + PATIENCE_MS + " ms");
            Thread.sleep(20);
        }
    }

    // --- topics ---

    private static Object createTopics(JsonNode request) throws Exception {
        List<NewTopic> topics = new ArrayList<>();
        for (JsonNode topic : request.get("topics")) {
            Optional<Integer> partitions = Optional.of(topic.get("partitions").asInt());
            Optional<Short> replication = Optional.ofNullable(topic.get("replication_factor"))
                .filter(JsonNode::isNumber).map(factor -> (short) factor.asInt());
            Map<String, String> configs = new HashMap<>();
            map(topic.get("configs")).forEach((name, value) -> configs.put(name, (String) value));
            topics.add(new NewTopic(topic.get("name").asText(), partitions, replication).configs(configs));
        }
        Admin admin = admin(request);
        admin.createTopics(topics).all().get();
        // A broker is told of what it made later than its clients are. A producer that is quicker has its first batch
        // refused and its second taken, after which its sequence never fits again: so wait until each leader answers for
        // its partitions.
        List<String> names = topics.stream().map(NewTopic::name).toList();
        await("an answer of every partition's leader", () -> {
            try {
                Map<TopicPartition, OffsetSpec> ends = new HashMap<>();
                admin.describeTopics(names).allTopicNames().get().forEach((name, topic) -> topic.partitions()
                    .forEach(partition -> ends.put(new TopicPartition(name, partition.partition()), OffsetSpec.latest())));
                admin.listOffsets(ends).all().get();
                return true;
            } catch (ExecutionException notYet) {
                return false;
            }
        });
        return null;
    }

    private static Object createPartitions(JsonNode request) throws Exception {
        NewPartitions total = NewPartitions.increaseTo(request.get("total").asInt());
        admin(request).createPartitions(Map.of(request.get("topic").asText(), total)).all().get();
        return null;
    }

    private static Object deleteTopics(JsonNode request) throws Exception {
        Admin admin = admin(request);
        List<String> names = strings(request.get("topics"));
        admin.deleteTopics(names).all().get();
        await("the deletion of " + names, () -> Collections.disjoint(admin.listTopics().names().get(), names));
        return null;
    }

    private static Object describeTopics(JsonNode request) throws Exception {
        Admin admin = admin(request);
        List<String> names = strings(request.get("topics"));
        Map<String, TopicDescription> topics = admin.describeTopics(names).allTopicNames().get();
        List<ConfigResource> resources =
            names.stream().map(name -> new ConfigResource(ConfigResource.Type.TOPIC, name)).toList();
        Map<ConfigResource, Config> configs = admin.describeConfigs(resources).all().get();
        List<Object> answer = new ArrayList<>();
        for (String name : names) {
            TopicDescription topic = topics.get(name);
            List<Object> partitions = new ArrayList<>();
            for (TopicPartitionInfo partition : topic.partitions()) {
                Map<String, Object> described = new LinkedHashMap<>();
                described.put("partition", partition.partition());
                described.put("leader", partition.leader() == null ? -1 : partition.leader().id());
                described.put("replicas", partition.replicas().stream().map(Node::id).toList());
                described.put("in_sync", partition.isr().stream().map(Node::id).toList());
                partitions.add(described);
            }
            Map<String, String> own = new TreeMap<>();
            for (ConfigEntry entry : configs.get(new ConfigResource(ConfigResource.Type.TOPIC, name)).entries()) {
                if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) own.put(entry.name(), entry.value());
            }
            Map<String, Object> described = new LinkedHashMap<>();
            described.put("name", name);
            described.put("id", topic.topicId().toString());
            described.put("partitions", partitions);
            described.put("configs", own);
            answer.add(described);
        }
        return answer;
    }

    private static Object alterConfigs(JsonNode request) throws Exception {
        ConfigResource.Type type = ConfigResource.Type.valueOf(request.get("resource").asText());
        ConfigResource resource = new ConfigResource(type, request.get("name").asText());
        List<AlterConfigOp> changes = new ArrayList<>();
        map(request.get("set")).forEach((name, value) ->
            changes.add(new AlterConfigOp(new ConfigEntry(name, (String) value), AlterConfigOp.OpType.SET)));
        for (String name : strings(request.get("delete"))) {
            changes.add(new AlterConfigOp(new ConfigEntry(name, null), AlterConfigOp.OpType.DELETE));
        }
        admin(request).incrementalAlterConfigs(Map.of(resource, changes)).all().get();
        return null;
    }

    /** Makes a replica the preferred one and elects it. */
    private static Object moveLeader(JsonNode request) throws Exception {
        Admin admin = admin(request);
        TopicPartition partition = partition(request);
        int node = request.get("node").asInt();
        TopicPartitionInfo info = partitionInfo(admin, partition);
        List<Integer> replicas = new ArrayList<>(info.replicas().stream().map(Node::id).toList());
        if (!replicas.remove((Integer) node)) throw new IllegalArgumentException("no replica on node " + node);
        replicas.add(0, node);
        admin.alterPartitionReassignments(Map.of(partition, Optional.of(new NewPartitionReassignment(replicas)))).all().get();
        await("the new order of replicas", () -> admin.listPartitionReassignments(Set.of(partition)).reassignments().get().isEmpty());
        await("the election", () -> {
            admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).partitions().get();
            Node leader = partitionInfo(admin, partition).leader();
            return leader != null && leader.id() == node;
        });
        return null;
    }

    /** Gives a partition another replica in place of all that it has; it is over when that one has caught up. */
    private static Object beginReassignment(JsonNode request) throws Exception {
        List<Integer> replicas = List.of(request.get("node").asInt());
        admin(request).alterPartitionReassignments(
            Map.of(partition(request), Optional.of(new NewPartitionReassignment(replicas)))).all().get();
        return null;
    }

    private static Object electUnclean(JsonNode request) throws Exception {
        Admin admin = admin(request);
        TopicPartition partition = partition(request);
        await("the election", () -> {
            admin.electLeaders(ElectionType.UNCLEAN, Set.of(partition)).partitions().get();
            Node leader = partitionInfo(admin, partition).leader();
            return leader != null && !leader.isEmpty();
        });
        return null;
    }

    private static TopicPartitionInfo partitionInfo(Admin admin, TopicPartition partition) throws Exception {
        return admin.describeTopics(List.of(partition.topic())).allTopicNames().get().get(partition.topic())
            .partitions().get(partition.partition());
    }

    private static Object offsets(JsonNode request) throws Exception {
        Admin admin = admin(request);
        String topic = request.get("topic").asText();
        OffsetSpec spec = switch (request.get("at").asText()) {
            case "earliest" -> OffsetSpec.earliest();
            case "latest" -> OffsetSpec.latest();
            case "stable" -> OffsetSpec.latest();
            default -> throw new IllegalArgumentException("at: earliest, latest or stable");
        };
        boolean isStable = request.get("at").asText().equals("stable");
        Map<TopicPartition, OffsetSpec> wanted = new TreeMap<>(Comparator.comparingInt(TopicPartition::partition));
        admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions()
            .forEach(partition -> wanted.put(new TopicPartition(topic, partition.partition()), spec));
        ListOffsetsOptions options = new ListOffsetsOptions(
            isStable ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED);
        var found = admin.listOffsets(wanted, options).all().get();
        return wanted.keySet().stream().map(partition -> found.get(partition).offset()).toList();
    }

    private static Object deleteRecords(JsonNode request) throws Exception {
        Map<TopicPartition, RecordsToDelete> before = new HashMap<>();
        positions(request.get("positions")).forEach((at, offset) -> before.put(at, RecordsToDelete.beforeOffset(offset)));
        admin(request).deleteRecords(before).all().get();
        return null;
    }

    private static Object allow(JsonNode request) throws Exception {
        boolean prefixed = request.has("prefix");
        ResourcePattern resource = new ResourcePattern(
            ResourceType.fromString(request.get("resource").asText()),
            request.get(prefixed ? "prefix" : "name").asText(), prefixed ? PatternType.PREFIXED : PatternType.LITERAL);
        AccessControlEntry entry = new AccessControlEntry(request.get("principal").asText(), "*",
            AclOperation.fromString(request.get("operation").asText()), AclPermissionType.ALLOW);
        admin(request).createAcls(List.of(new AclBinding(resource, entry))).all().get();
        return null;
    }

    private static Object setPassword(JsonNode request) throws Exception {
        ScramCredentialInfo scram = new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096);
        UserScramCredentialAlteration user =
            new UserScramCredentialUpsertion(request.get("user").asText(), scram, request.get("password").asText());
        admin(request).alterUserScramCredentials(List.of(user)).all().get();
        return null;
    }

    // --- producers ---

    private static KafkaProducer<byte[], byte[]> newProducer(JsonNode request) {
        Map<String, Object> properties = map(request.get("cluster"));
        properties.putAll(map(request.get("config")));
        KafkaProducer<byte[], byte[]> producer =
            new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
        if (properties.containsKey(ProducerConfig.TRANSACTIONAL_ID_CONFIG)) producer.initTransactions();
        return producer;
    }

    private static KafkaProducer<byte[], byte[]> producer(JsonNode request) {
        String name = request.get("producer").asText();
        KafkaProducer<byte[], byte[]> producer = PRODUCERS.get(name);
        if (producer == null) throw new IllegalStateException("no producer " + name);
        return producer;
    }

    private static Object openProducer(JsonNode request) {
        PRODUCERS.put(request.get("producer").asText(), newProducer(request));
        return null;
    }

    private static Object closeProducer(JsonNode request) {
        producer(request).close();
        PRODUCERS.remove(request.get("producer").asText());
        return null;
    }

    private interface ProducerCall {
        void on(KafkaProducer<byte[], byte[]> producer);
    }

    private static Object producerCall(JsonNode request, ProducerCall call) {
        call.on(producer(request));
        return null;
    }

    private static Object produce(JsonNode request) throws Exception {
        KafkaProducer<byte[], byte[]> producer = producer(request);
        String topic = request.get("topic").asText();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (Record record : Record.readAll(request.get("file").asText())) {
            List<Header> headers = new ArrayList<>();
            for (byte[][] header : record.headers) {
                headers.add(new RecordHeader(new String(header[0], StandardCharsets.UTF_8), header[1]));
            }
            sent.add(producer.send(new ProducerRecord<>(topic, record.partition < 0 ? null : record.partition,
                record.timestamp < 0 ? null : record.timestamp, record.key, record.value, headers)));
        }
        producer.flush();
        List<Object> placed = new ArrayList<>();
        for (Future<RecordMetadata> future : sent) {
            RecordMetadata metadata = future.get();
            placed.add(position(new TopicPartition(metadata.topic(), metadata.partition()), metadata.offset()));
        }
        return placed;
    }

    /**
     * Writes one batch, byte by byte, with all records of the file in it. The producer's own API cannot say a header key
     * that is no UTF-8, nor how records fall into batches.
     */
    private static Object produceBatch(JsonNode request) throws Exception {
        TopicPartition partition = partition(request);
        List<Record> records = Record.readAll(request.get("file").asText());
        Compression compression = Compression.of(request.get("codec").asText()).build();
        ByteBufferOutputStream output = new ByteBufferOutputStream(1 << 16);
        output.position(DefaultRecordBatch.RECORD_BATCH_OVERHEAD);
        long first = records.get(0).timestamp;
        try (DataOutputStream stream = new DataOutputStream(compression.wrapForOutput(output, RecordBatch.MAGIC_VALUE_V2))) {
            for (int delta = 0; delta < records.size(); delta++) {
                ByteArrayOutputStream body = new ByteArrayOutputStream();
                records.get(delta).writeAsKafka(new DataOutputStream(body), delta, first);
                ByteUtils.writeVarint(body.size(), stream);
                body.writeTo(stream);
            }
        }
        ByteBuffer buffer = output.buffer();
        int size = buffer.position();
        buffer.position(0);
        long max = records.stream().mapToLong(record -> record.timestamp).max().orElseThrow();
        DefaultRecordBatch.writeHeader(buffer, 0L, records.size() - 1, size, RecordBatch.MAGIC_VALUE_V2, compression.type(),
            TimestampType.CREATE_TIME, first, max, RecordBatch.NO_PRODUCER_ID, RecordBatch.NO_PRODUCER_EPOCH,
            RecordBatch.NO_SEQUENCE, false, false, false, RecordBatch.NO_PARTITION_LEADER_EPOCH, records.size());
        buffer.position(0);
        buffer.limit(size);

        var data = new ProduceRequestData.PartitionProduceData().setIndex(partition.partition())
            .setRecords(MemoryRecords.readableRecords(buffer));
        var topic = new ProduceRequestData.TopicProduceData().setName(partition.topic()).setPartitionData(List.of(data));
        var topics = new ProduceRequestData.TopicProduceDataCollection(List.of(topic).iterator());
        // The last version before transactions and topic ids change it, which every broker since 2.4 takes.
        short version = 9;
        ProduceRequest produce = new ProduceRequest(
            new ProduceRequestData().setAcks((short) -1).setTimeoutMs(30_000).setTopicData(topics), version);
        RequestHeader header = new RequestHeader(ApiKeys.PRODUCE, version, "witness", 1);
        ByteBuffer bytes = produce.serializeWithHeader(header);
        Node leader = partitionInfo(admin(request), partition).leader();
        try (Socket socket = new Socket(leader.host(), leader.port())) {
            DataOutputStream sending = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream(), 1 << 16));
            sending.writeInt(bytes.remaining());
            sending.write(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
            sending.flush();
            DataInputStream receiving = new DataInputStream(socket.getInputStream());
            byte[] answer = receiving.readNBytes(receiving.readInt());
            ProduceResponse response = (ProduceResponse) AbstractResponse.parseResponse(ByteBuffer.wrap(answer), header);
            var result = response.data().responses().iterator().next().partitionResponses().get(0);
            Errors error = Errors.forCode(result.errorCode());
            if (error != Errors.NONE) throw error.exception(error + " " + result.errorMessage());
            return result.baseOffset();
        }
    }

    /** Writes many records that follow from a seed, as fast as one producer can. */
    private static Object generate(JsonNode request) throws Exception {
        String topic = request.get("topic").asText();
        int partitions = request.get("partitions").asInt();
        long count = request.get("records").asLong();
        int size = request.get("value_bytes").asInt();
        boolean isJson = request.get("shape").asText().equals("json");
        long start = request.get("timestamp_ms").asLong();
        long keys = request.get("keys").asLong();
        SplittableRandom random = new SplittableRandom(request.get("seed").asLong());
        AtomicReference<Exception> failure = new AtomicReference<>();
        try (KafkaProducer<byte[], byte[]> producer = newProducer(request)) {
            for (long number = 0; number < count && failure.get() == null; number++) {
                byte[] key = keys == 0 ? null : ("key-" + random.nextLong(keys)).getBytes(StandardCharsets.UTF_8);
                byte[] value = isJson ? json(random, number, size) : bytes(random, size);
                producer.send(new ProducerRecord<>(topic, (int) (number % partitions), start + number / partitions, key, value),
                    (metadata, exception) -> {
                        if (exception != null) failure.compareAndSet(null, exception);
                    });
            }
            producer.flush();
        }
        if (failure.get() != null) throw failure.get();
        return null;
    }

    private static byte[] bytes(SplittableRandom random, int size) {
        byte[] value = new byte[size];
        random.nextBytes(value);
        return value;
    }

    private static final String[] CITIES = {"Lisbon", "Nairobi", "Osaka", "Quito", "Reykjavik", "Tbilisi"};
    private static final String[] STATES = {"created", "paid", "picked", "shipped", "delivered", "returned"};

    private static byte[] json(SplittableRandom random, long number, int size) {
        StringBuilder text = new StringBuilder(size + 64);
        text.append("{\"order\":").append(number)
            .append(",\"customer\":\"c-").append(random.nextInt(100_000))
            .append("\",\"state\":\"").append(STATES[random.nextInt(STATES.length)])
            .append("\",\"city\":\"").append(CITIES[random.nextInt(CITIES.length)])
            .append("\",\"cents\":").append(random.nextInt(1_000_000)).append(",\"items\":[");
        for (boolean isFirst = true; isFirst || text.length() < size - 24; isFirst = false) {
            text.append(isFirst ? "" : ",").append("{\"sku\":\"s-").append(random.nextInt(5_000))
                .append("\",\"count\":").append(1 + random.nextInt(5)).append('}');
        }
        return text.append("]}").toString().getBytes(StandardCharsets.UTF_8);
    }

    // --- consumers ---

    private static KafkaConsumer<byte[], byte[]> newConsumer(JsonNode request, String group) {
        Map<String, Object> properties = map(request.get("cluster"));
        properties.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
        properties.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        // A fetch that waits at the end of one partition holds up the one for the next, on the same connection.
        properties.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, "20");
        if (group != null) properties.put(ConsumerConfig.GROUP_ID_CONFIG, group);
        properties.putAll(map(request.get("config")));
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** Reads every partition of a topic from its first offset to its end at the start of the call. */
    private static Object consume(JsonNode request) throws Exception {
        String topic = request.get("topic").asText();
        Path folder = request.hasNonNull("folder") ? Path.of(request.get("folder").asText()) : null;
        Map<TopicPartition, Sink> sinks = new TreeMap<>(Comparator.comparingInt(TopicPartition::partition));
        Map<TopicPartition, Long> first;
        Map<TopicPartition, Long> end;
        try (KafkaConsumer<byte[], byte[]> consumer = newConsumer(request, null)) {
            for (PartitionInfo info : consumer.partitionsFor(topic)) {
                sinks.put(new TopicPartition(topic, info.partition()), new Sink(folder, info.partition()));
            }
            consumer.assign(sinks.keySet());
            first = consumer.beginningOffsets(sinks.keySet());
            end = consumer.endOffsets(sinks.keySet());
            consumer.seekToBeginning(sinks.keySet());
            Set<TopicPartition> reading = new HashSet<>(sinks.keySet());
            reading.removeIf(partition -> first.get(partition) >= end.get(partition));
            long deadline = System.nanoTime() + PATIENCE_MS * 1_000_000;
            while (!reading.isEmpty()) {
                consumer.assign(reading);
                ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
                for (ConsumerRecord<byte[], byte[]> record : records) {
                    TopicPartition partition = new TopicPartition(topic, record.partition());
                    if (record.offset() < end.get(partition)) sinks.get(partition).add(new Record(record));
                }
                boolean isEnding = reading.removeIf(partition -> consumer.position(partition) >= end.get(partition));
                if (isEnding || !records.isEmpty()) deadline = System.nanoTime() + PATIENCE_MS * 1_000_000;
                if (System.nanoTime() > deadline) throw new TimeoutException("no record for " + PATIENCE_MS + " ms in " + reading);
            }
        }
        List<Object> answer = new ArrayList<>();
        for (Map.Entry<TopicPartition, Sink> entry : sinks.entrySet()) {
            answer.add(entry.getValue().close(first.get(entry.getKey()), end.get(entry.getKey())));
        }
        return answer;
    }

    /** Where the records of one partition go: counted, digested, and written to a file if there is a folder. */
    private static final class Sink {
        private final MessageDigest digest;
        private final DataOutputStream file;
        private final int partition;
        private long records;

        Sink(Path folder, int partition) throws Exception {
            this.partition = partition;
            digest = MessageDigest.getInstance("SHA-256");
            file = folder == null ? null : new DataOutputStream(new BufferedOutputStream(
                Files.newOutputStream(folder.resolve(partition + ".records")), 1 << 18));
        }

        void add(Record record) throws IOException {
            records++;
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            record.writePayload(new DataOutputStream(bytes));
            digest.update(bytes.toByteArray());
            if (file != null) {
                record.writePlace(file);
                bytes.writeTo(file);
            }
        }

        Object close(long first, long end) throws IOException {
            if (file != null) file.close();
            Map<String, Object> answer = new LinkedHashMap<>();
            answer.put("partition", partition);
            answer.put("start_offset", first);
            answer.put("end_offset", end);
            answer.put("records", records);
            answer.put("digest", HexFormat.of().formatHex(digest.digest()));
            return answer;
        }
    }

    /**
     * For each position the record that a consumer reads next from there, written to a file in the order of the request;
     * the answer says for which there was one. With a group, the positions are what the group committed.
     */
    private static Object nextRecords(JsonNode request) throws Exception {
        String group = request.hasNonNull("group") ? request.get("group").asText() : null;
        List<Boolean> found = new ArrayList<>();
        try (KafkaConsumer<byte[], byte[]> consumer = newConsumer(request, group);
             DataOutputStream file = new DataOutputStream(new BufferedOutputStream(
                 new FileOutputStream(request.get("file").asText())))) {
            for (JsonNode wanted : request.get("positions")) {
                TopicPartition partition = partition(wanted);
                consumer.assign(List.of(partition));
                if (group == null) consumer.seek(partition, wanted.get("offset").asLong());
                long end = consumer.endOffsets(List.of(partition)).get(partition);
                Record next = null;
                long deadline = System.nanoTime() + PATIENCE_MS * 1_000_000;
                while (next == null && consumer.position(partition) < end) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL).records(partition)) {
                        if (next == null) next = new Record(record);
                    }
                    if (System.nanoTime() > deadline) throw new TimeoutException("no record for " + PATIENCE_MS + " ms in " + partition);
                }
                found.add(next != null);
                if (next != null) {
                    next.writePlace(file);
                    next.writePayload(file);
                }
            }
        }
        return found;
    }

    // --- groups ---

    private static Map<TopicPartition, OffsetAndMetadata> commits(JsonNode node) {
        Map<TopicPartition, OffsetAndMetadata> commits = new LinkedHashMap<>();
        for (JsonNode item : node) {
            String metadata = item.hasNonNull("metadata") ? item.get("metadata").asText() : "";
            Optional<Integer> epoch = item.hasNonNull("leader_epoch") ? Optional.of(item.get("leader_epoch").asInt()) : Optional.empty();
            commits.put(partition(item), new OffsetAndMetadata(item.get("offset").asLong(), epoch, metadata));
        }
        return commits;
    }

    private static Object commitOffsets(JsonNode request) throws Exception {
        admin(request).alterConsumerGroupOffsets(request.get("group").asText(), commits(request.get("offsets"))).all().get();
        return null;
    }

    private static Object groupOffsets(JsonNode request) throws Exception {
        String group = request.get("group").asText();
        var offsets = admin(request).listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata(group).get();
        Comparator<TopicPartition> order = Comparator.comparing(TopicPartition::topic).thenComparingInt(TopicPartition::partition);
        List<Object> answer = new ArrayList<>();
        offsets.keySet().stream().sorted(order).forEach(partition -> {
            OffsetAndMetadata committed = offsets.get(partition);
            if (committed == null) return;
            Map<String, Object> described = position(partition, committed.offset());
            described.put("metadata", committed.metadata());
            described.put("leader_epoch", committed.leaderEpoch().orElse(null));
            answer.add(described);
        });
        return answer;
    }

    private static Object listGroups(JsonNode request) throws Exception {
        List<Object> answer = new ArrayList<>();
        for (GroupListing group : admin(request).listGroups().all().get()) {
            answer.add(Map.of("group", group.groupId(), "type", group.type().map(Object::toString).orElse("Unknown"),
                "state", group.groupState().map(Object::toString).orElse("Unknown")));
        }
        return answer;
    }

    private static Object describeGroup(JsonNode request) throws Exception {
        String name = request.get("group").asText();
        ConsumerGroupDescription group = admin(request).describeConsumerGroups(List.of(name)).all().get().get(name);
        return Map.of("group", name, "type", group.type().toString(), "state", group.groupState().toString(),
            "members", group.members().stream().map(MemberDescription::clientId).toList());
    }

    private static Object deleteGroup(JsonNode request) throws Exception {
        admin(request).deleteConsumerGroups(List.of(request.get("group").asText())).all().get();
        return null;
    }

    /** A consumer that is polled by a thread of its own until it leaves. */
    private static final class Member implements Runnable {
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final Queue<FutureTask<Void>> tasks = new ConcurrentLinkedQueue<>();
        private final CountDownLatch assigned = new CountDownLatch(1);
        private final CountDownLatch left = new CountDownLatch(1);
        private volatile boolean isLeaving;

        Member(KafkaConsumer<byte[], byte[]> consumer) {
            this.consumer = consumer;
        }

        @Override
        public void run() {
            try (consumer) {
                while (!isLeaving) {
                    consumer.poll(POLL);
                    if (!consumer.assignment().isEmpty()) assigned.countDown();
                    for (FutureTask<Void> task = tasks.poll(); task != null; task = tasks.poll()) task.run();
                }
            } finally {
                left.countDown();
            }
        }
    }

    private static Member member(JsonNode request) {
        String name = request.get("member").asText();
        Member member = MEMBERS.get(name);
        if (member == null) throw new IllegalStateException("no member " + name);
        return member;
    }

    private static Object joinGroup(JsonNode request) throws Exception {
        Member member = new Member(newConsumer(request, request.get("group").asText()));
        member.consumer.subscribe(strings(request.get("topics")));
        MEMBERS.put(request.get("member").asText(), member);
        Thread thread = new Thread(member, "member");
        thread.setDaemon(true);
        thread.start();
        if (!member.assigned.await(PATIENCE_MS, TimeUnit.MILLISECONDS)) throw new TimeoutException("no assignment");
        return null;
    }

    private static Object commitAsMember(JsonNode request) throws Exception {
        Member member = member(request);
        Map<TopicPartition, OffsetAndMetadata> commits = commits(request.get("offsets"));
        FutureTask<Void> task = new FutureTask<>(() -> {
            member.consumer.commitSync(commits);
            return null;
        });
        member.tasks.add(task);
        return task.get(PATIENCE_MS, TimeUnit.MILLISECONDS);
    }

    private static Object leaveGroup(JsonNode request) throws Exception {
        Member member = member(request);
        member.isLeaving = true;
        member.left.await(PATIENCE_MS, TimeUnit.MILLISECONDS);
        MEMBERS.remove(request.get("member").asText());
        return null;
    }

    // --- Kafka Streams ---

    /** An application without state, and the values that it was given. */
    private record Application(KafkaStreams streams, List<String> values) {}

    private static Application streams(JsonNode request) {
        Application application = APPLICATIONS.get(request.get("application").asText());
        if (application == null) throw new IllegalStateException("no application");
        return application;
    }

    /** Starts an application whose group has its id, and waits until it runs. */
    private static Object startStreams(JsonNode request) throws Exception {
        Properties config = new Properties();
        config.putAll(map(request.get("cluster")));
        config.putAll(map(request.get("config")));
        config.put("application.id", request.get("group").asText());
        config.put("state.dir", Files.createTempDirectory("e2e-streams-").toString());
        config.put("auto.offset.reset", "earliest");
        config.put("commit.interval.ms", "100");
        Topology topology = new Topology();
        List<String> values = Collections.synchronizedList(new ArrayList<>());
        topology.addSource("source", new ByteArrayDeserializer(), new ByteArrayDeserializer(), request.get("topic").asText());
        topology.addProcessor("values", () -> (org.apache.kafka.streams.processor.api.Processor<byte[], byte[], Void, Void>)
            record -> values.add(new String(record.value(), StandardCharsets.UTF_8)), "source");
        KafkaStreams streams = new KafkaStreams(topology, config);
        APPLICATIONS.put(request.get("application").asText(), new Application(streams, values));
        streams.start();
        await("the start of the application", () -> streams.state() == KafkaStreams.State.RUNNING);
        return null;
    }

    private static Object stopStreams(JsonNode request) throws Exception {
        Application application = streams(request);
        application.streams.close(Duration.ofMillis(PATIENCE_MS));
        APPLICATIONS.remove(request.get("application").asText());
        return application.values;
    }

    // --- a cluster in motion ---

    private static Object startOracle(JsonNode request) throws Exception {
        Oracle oracle =
            new Oracle(map(request.get("cluster")), request.get("prefix").asText(), Path.of(request.get("file").asText()));
        ORACLES.put(request.get("oracle").asText(), oracle);
        return null;
    }

    private static Object oracleForget(JsonNode request) throws Exception {
        ORACLES.get(request.get("oracle").asText())
            .forget(request.get("topic").asText(), Uuid.fromString(request.get("topic_id").asText()));
        return null;
    }

    private static Object startTransform(JsonNode request) throws Exception {
        String group = request.get("group").asText();
        TRANSFORMS.put(group, new Transform(
            map(request.get("cluster")), group, request.get("from").asText(), request.get("to").asText()));
        return null;
    }

    private static Object stopTransform(JsonNode request) {
        TRANSFORMS.remove(request.get("group").asText()).stop();
        return null;
    }

    // --- share groups ---

    /** The values that a member of a share group is given, which it acknowledges and then leaves: so many, or all until none comes. */
    private static Object shareValues(JsonNode request) throws Exception {
        Map<String, Object> config = map(request.get("cluster"));
        config.putAll(map(request.get("config")));
        config.put("group.id", request.get("group").asText());
        config.put("share.acknowledgement.mode", "explicit");
        int wanted = request.get("records").asInt();
        ConfigResource group = new ConfigResource(ConfigResource.Type.GROUP, request.get("group").asText());
        AlterConfigOp earliest = new AlterConfigOp(new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET);
        admin(request).incrementalAlterConfigs(Map.of(group, List.of(earliest))).all().get();
        List<String> values = new ArrayList<>();
        try (KafkaShareConsumer<byte[], byte[]> consumer =
                 new KafkaShareConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(strings(request.get("topics")));
            long deadline = System.nanoTime() + PATIENCE_MS * 1_000_000;
            while (values.size() < wanted) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                    boolean isWanted = values.size() < wanted;
                    if (isWanted) values.add(new String(record.value(), StandardCharsets.UTF_8));
                    consumer.acknowledge(record, isWanted ? AcknowledgeType.ACCEPT : AcknowledgeType.RELEASE);
                }
                if (System.nanoTime() > deadline) throw new TimeoutException(values.size() + " records of " + wanted);
            }
            consumer.commitSync();
        }
        return values;
    }

    private static Object shareOffsets(JsonNode request) throws Exception {
        String group = request.get("group").asText();
        var offsets = admin(request).listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec()))
            .partitionsToOffsetInfo(group).get();
        Comparator<TopicPartition> order = Comparator.comparing(TopicPartition::topic).thenComparingInt(TopicPartition::partition);
        List<Object> answer = new ArrayList<>();
        offsets.keySet().stream().sorted(order).forEach(partition -> {
            SharePartitionOffsetInfo info = offsets.get(partition);
            if (info != null) answer.add(position(partition, info.startOffset()));
        });
        return answer;
    }

    // --- records as files hold them ---

    static final class Record {
        /** Consumers decode the key of a header on demand and forget its bytes; this is where they are until then. */
        private static final Field KEY_BYTES;

        static {
            try {
                KEY_BYTES = RecordHeader.class.getDeclaredField("keyBuffer");
                KEY_BYTES.setAccessible(true);
            } catch (NoSuchFieldException gone) {
                throw new ExceptionInInitializerError(gone);
            }
        }

        final int partition;
        final long offset;
        final long timestamp;
        final int timestampType;
        final byte[] key;
        final byte[] value;
        final List<byte[][]> headers = new ArrayList<>();

        Record(ConsumerRecord<byte[], byte[]> record) throws IOException {
            partition = record.partition();
            offset = record.offset();
            timestamp = record.timestamp();
            timestampType = record.timestampType() == TimestampType.LOG_APPEND_TIME ? 1 : 0;
            key = record.key();
            value = record.value();
            for (Header header : record.headers()) headers.add(new byte[][] {keyBytes(header), header.value()});
        }

        private Record(DataInputStream file) throws IOException {
            partition = file.readInt();
            offset = file.readLong();
            timestampType = file.readByte();
            timestamp = file.readLong();
            key = readBytes(file);
            value = readBytes(file);
            int count = file.readInt();
            for (int index = 0; index < count; index++) headers.add(new byte[][] {readBytes(file), readBytes(file)});
        }

        static List<Record> readAll(String path) throws IOException {
            List<Record> records = new ArrayList<>();
            try (PushbackInputStream input = new PushbackInputStream(new BufferedInputStream(new FileInputStream(path), 1 << 18))) {
                DataInputStream file = new DataInputStream(input);
                for (int next = input.read(); next >= 0; next = input.read()) {
                    input.unread(next);
                    records.add(new Record(file));
                }
            }
            return records;
        }

        private static byte[] keyBytes(Header header) throws IOException {
            try {
                ByteBuffer buffer = (ByteBuffer) KEY_BYTES.get(header);
                if (buffer == null) return header.key().getBytes(StandardCharsets.UTF_8);
                byte[] bytes = new byte[buffer.remaining()];
                buffer.duplicate().get(bytes);
                return bytes;
            } catch (IllegalAccessException refused) {
                throw new IOException(refused);
            }
        }

        /** Where the record stood; not part of the digest. */
        void writePlace(DataOutputStream file) throws IOException {
            file.writeInt(partition);
            file.writeLong(offset);
            file.writeByte(timestampType);
        }

        void writePayload(DataOutputStream file) throws IOException {
            file.writeLong(timestamp);
            writeBytes(file, key);
            writeBytes(file, value);
            file.writeInt(headers.size());
            for (byte[][] header : headers) {
                writeBytes(file, header[0]);
                writeBytes(file, header[1]);
            }
        }

        private static byte[] readBytes(DataInputStream file) throws IOException {
            int length = file.readInt();
            return length < 0 ? null : file.readNBytes(length);
        }

        private static void writeBytes(DataOutputStream file, byte[] bytes) throws IOException {
            file.writeInt(bytes == null ? -1 : bytes.length);
            if (bytes != null) file.write(bytes);
        }

        /** The body of a record in a batch of format v2. */
        void writeAsKafka(DataOutputStream batch, int offsetDelta, long firstTimestamp) throws IOException {
            batch.writeByte(0);
            ByteUtils.writeVarlong(timestamp - firstTimestamp, batch);
            ByteUtils.writeVarint(offsetDelta, batch);
            writeVarBytes(batch, key);
            writeVarBytes(batch, value);
            ByteUtils.writeVarint(headers.size(), batch);
            for (byte[][] header : headers) {
                writeVarBytes(batch, header[0]);
                writeVarBytes(batch, header[1]);
            }
        }

        private static void writeVarBytes(DataOutputStream batch, byte[] bytes) throws IOException {
            ByteUtils.writeVarint(bytes == null ? -1 : bytes.length, batch);
            if (bytes != null) batch.write(bytes);
        }
    }
}
