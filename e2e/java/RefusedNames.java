import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.AlterConfigPolicy;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/**
 * Refuses the creation of topics whose names stand in a file at that moment, and changes of their settings; the broker's property
 * e2e.refused.names says where.
 */
public final class RefusedNames implements CreateTopicPolicy, AlterConfigPolicy {
    private Path file;

    @Override
    public void configure(Map<String, ?> configs) {
        file = Path.of((String) configs.get("e2e.refused.names"));
    }

    @Override
    public void validate(CreateTopicPolicy.RequestMetadata request) {
        check(request.topic());
    }

    @Override
    public void validate(AlterConfigPolicy.RequestMetadata request) {
        if (request.resource().type() == ConfigResource.Type.TOPIC) {
            check(request.resource().name());
        }
    }

    @Override
    public void close() {}

    private void check(String topic) {
        try {
            if (Files.readAllLines(file).contains(topic)) {
                throw new PolicyViolationException(topic + ": the name is refused");
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /**
     * Refuses settings whose names the broker's property e2e.refused.settings lists: no topic gets them, except Kafka's own ones, however
     * it would get them.
     */
    public static final class OfSettings implements CreateTopicPolicy, AlterConfigPolicy {
        private List<String> refused;

        @Override
        public void configure(Map<String, ?> configs) {
            refused = List.of(((String) configs.get("e2e.refused.settings")).split(","));
        }

        @Override
        public void validate(CreateTopicPolicy.RequestMetadata request) {
            check(request.topic(), request.configs());
        }

        @Override
        public void validate(AlterConfigPolicy.RequestMetadata request) {
            if (request.resource().type() == ConfigResource.Type.TOPIC) {
                check(request.resource().name(), request.configs());
            }
        }

        @Override
        public void close() {}

        private void check(String topic, Map<String, String> configs) {
            for (String name : refused) {
                // A setting that is taken off a topic has no value.
                if (configs != null && configs.get(name) != null && !topic.startsWith("__")) {
                    throw new PolicyViolationException(topic + ": " + name + " must not be set");
                }
            }
        }
    }
}
