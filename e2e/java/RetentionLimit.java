import java.util.Map;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.AlterConfigPolicy;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/** Policies of a cluster that keeps nothing longer than seven days, however a topic gets its retention. */
public final class RetentionLimit {
    private static final long DAYS_7 = 7L * 24 * 3600 * 1000;

    private RetentionLimit() {}

    private static void check(String topic, Map<String, String> configs) {
        String retention = configs == null ? null : configs.get("retention.ms");
        if (retention != null && (Long.parseLong(retention) < 0 || Long.parseLong(retention) > DAYS_7)) {
            throw new PolicyViolationException(topic + ": retention.ms must be between 0 and " + DAYS_7);
        }
    }

    /** For CreateTopics. */
    public static final class OnCreate implements CreateTopicPolicy {
        @Override
        public void validate(RequestMetadata request) {
            check(request.topic(), request.configs());
        }

        @Override
        public void configure(Map<String, ?> configs) {}

        @Override
        public void close() {}
    }

    /** For CreateTopics, where min.insync.replicas must be given too. */
    public static final class OnCreateWithReplicas implements CreateTopicPolicy {
        @Override
        public void validate(RequestMetadata request) {
            check(request.topic(), request.configs());
            if (request.configs() == null || !request.configs().containsKey("min.insync.replicas")) {
                throw new PolicyViolationException(request.topic() + ": min.insync.replicas must be given");
            }
        }

        @Override
        public void configure(Map<String, ?> configs) {}

        @Override
        public void close() {}
    }

    /** For IncrementalAlterConfigs. */
    public static final class OnAlter implements AlterConfigPolicy {
        @Override
        public void validate(RequestMetadata request) {
            if (request.resource().type() == ConfigResource.Type.TOPIC) {
                check(request.resource().name(), request.configs());
            }
        }

        @Override
        public void configure(Map<String, ?> configs) {}

        @Override
        public void close() {}
    }
}
