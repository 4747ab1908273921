import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.apache.kafka.common.errors.PolicyViolationException;
import org.apache.kafka.server.policy.CreateTopicPolicy;

/** Refuses the creation of topics whose names stand in a file at that moment; the broker's property e2e.refused.names says where. */
public final class RefusedNames implements CreateTopicPolicy {
    private Path file;

    @Override
    public void configure(Map<String, ?> configs) {
        file = Path.of((String) configs.get("e2e.refused.names"));
    }

    @Override
    public void validate(RequestMetadata request) {
        try {
            if (Files.readAllLines(file).contains(request.topic())) {
                throw new PolicyViolationException(request.topic() + ": the name is refused");
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    @Override
    public void close() {}
}
