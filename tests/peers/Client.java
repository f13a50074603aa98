// Java's HttpClient. Arguments: the outbound port, the ports of payment-service and order-service.
import java.io.ByteArrayInputStream;
import java.net.InetSocketAddress;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.MessageDigest;
import java.time.Duration;
import java.util.HexFormat;
import java.util.Random;
import java.util.concurrent.CompletableFuture;
import java.util.stream.IntStream;
import java.util.stream.Stream;

public class Client {
    public static void main(String[] ports) throws Exception {
        int outbound = Integer.parseInt(ports[0]);
        String payment = "http://127.0.0.1:" + ports[1], order = "http://127.0.0.1:" + ports[2];
        HttpClient client = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(5)).build();
        calls(client, payment, order);
        bodies(client, order);
        crowd(client, order);
        HttpClient proxied = HttpClient.newBuilder()
            .proxy(ProxySelector.of(new InetSocketAddress("127.0.0.1", outbound))).build();
        HttpResponse<String> got = send(proxied, get("http://payment-service/hello"));
        tell("HttpClient with a ProxySelector", "200 hello ", got.statusCode() + " " + got.body());
        System.out.println("end");
    }

    static void calls(HttpClient client, String payment, String order) throws Exception {
        HttpResponse<String> got = send(client, get(payment + "/hello"));
        tell("HttpClient through a port of the service", "200 hello  HTTP_1_1",
            got.statusCode() + " " + got.body() + " " + got.version());
        got = send(client, get(order + "/echo"));
        String told = got.body();
        tell("HttpClient: its offer of h2c goes no further", "false", told.contains("\"upgrade\"") || told.contains("http2-settings"));
        got = send(client, get(order + "/flaky?key=java&fail=2"));
        tell("HttpClient: failures are retried out of sight", "200", got.statusCode());
        got = send(client, get(order + "/slow"));
        tell("HttpClient: the deadline", "504 deadline_exceeded",
            got.statusCode() + " " + got.headers().firstValue("outrigger-reason").orElse("none"));
        HttpRequest.Builder head = get(payment + "/text.txt").method("HEAD", BodyPublishers.noBody());
        got = send(client, head);
        tell("HttpClient: HEAD", "200 10500", got.statusCode() + " " + got.headers().firstValue("content-length").orElse("none"));
        Stream<String> lines = client.send(get(order + "/trickle").build(), BodyHandlers.ofLines()).body();
        tell("HttpClient: a stream of lines", "[one, two, three]", lines.toList());
    }

    static void bodies(HttpClient client, String order) throws Exception {
        byte[] body = new byte[3_000_000];
        new Random(7).nextBytes(body);
        String sum = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(body));
        HttpRequest.Builder post = get(order + "/echo").POST(BodyPublishers.ofByteArray(body));
        tell("HttpClient: POST", "true", send(client, post).body().contains(sum));
        HttpRequest.Builder chunked = get(order + "/echo").PUT(BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body)));
        tell("HttpClient: PUT of unknown length", "true", send(client, chunked).body().contains(sum));
        HttpRequest.Builder expecting = get(order + "/echo").expectContinue(true).POST(BodyPublishers.ofByteArray(body));
        tell("HttpClient: POST that expects 100-continue", "true", send(client, expecting).body().contains(sum));
    }

    static void crowd(HttpClient client, String order) {
        CompletableFuture<?>[] all = IntStream.range(0, 100).mapToObj(n ->
            client.sendAsync(get(order + "/echo?n=" + n).build(), BodyHandlers.ofString())
                .thenApply(got -> got.statusCode() == 200 && got.body().contains("\"/echo?n=" + n + "\"")))
            .toArray(CompletableFuture[]::new);
        long good = Stream.of(all).filter(one -> Boolean.TRUE.equals(one.join())).count();
        tell("HttpClient: 100 at once, each answer to its own question", "100", good);
    }

    static HttpRequest.Builder get(String url) {
        return HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(10));
    }

    static HttpResponse<String> send(HttpClient client, HttpRequest.Builder request) throws Exception {
        return client.send(request.build(), BodyHandlers.ofString());
    }

    static void tell(String what, String expected, Object got) {
        System.out.println(what + "\t" + expected + "\t" + String.valueOf(got).replace("\n", " "));
    }
}
