import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;

/** A Kafka Streams application without state that copies a topic to another, each record exactly once (exactly_once_v2). */
final class Transform {
    private final KafkaStreams streams;

    Transform(Map<String, Object> cluster, String group, String from, String to) throws Exception {
        Properties config = new Properties();
        config.putAll(cluster);
        config.put("application.id", group);
        config.put("state.dir", Files.createTempDirectory("e2e-streams-").toString());
        config.put("auto.offset.reset", "earliest");
        config.put("processing.guarantee", "exactly_once_v2");
        config.put("commit.interval.ms", "200");
        Topology topology = new Topology();
        topology.addSource("source", new ByteArrayDeserializer(), new ByteArrayDeserializer(), from);
        topology.addProcessor("transform", Copier::new, "source");
        topology.addSink("sink", to, new ByteArraySerializer(), new ByteArraySerializer(), "transform");
        streams = new KafkaStreams(topology, config);
        streams.setUncaughtExceptionHandler(error -> StreamThreadExceptionResponse.REPLACE_THREAD);
        streams.start();
    }

    void stop() {
        streams.close(Duration.ofSeconds(30));
    }

    private static final class Copier implements Processor<byte[], byte[], byte[], byte[]> {
        private ProcessorContext<byte[], byte[]> context;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            ByteArrayOutputStream value = new ByteArrayOutputStream();
            value.writeBytes("copied ".getBytes(StandardCharsets.UTF_8));
            if (record.value() != null) value.writeBytes(record.value());
            context.forward(record.withValue(value.toByteArray()));
        }
    }
}
