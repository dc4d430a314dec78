import io.socket.client.IO;
import io.socket.client.Socket;
import io.socket.thread.EventThread;
import java.net.URI;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.Timer;
import java.util.TimerTask;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * Mirrors the boards of some regions and prints a line whenever one changes. With --every N it prints each
 * board every N seconds instead, as one line of JSON in the format of GET /api/odds/{region}.
 *
 * <pre>
 * mvn -q dependency:copy-dependencies
 * java -cp 'target/dependency/*' Mirror.java [--url http://127.0.0.1:8080] [--token tb_…] [--regions uk,eu] \
 *     [--transport polling] [--every 5]
 * </pre>
 */
public class Mirror {
    /** Refusals that are worth another attempt. */
    static final List<String> TEMPORARY =
        List.of("stopping", "too_many_connections", "too_many_filters", "too_many_attempts", "store_unavailable");

    static final Timer TIMER = new Timer();

    /** An event's details, and its quotes by bookmaker and market. */
    record Event(JSONObject details, Map<String, JSONObject> quotes) {}

    /** Collects the parts of a snapshot. */
    static class Incoming {
        final String cursor;
        final Map<String, Event> events = new HashMap<>();
        int part = 0;

        Incoming(String cursor) {
            this.cursor = cursor;
        }
    }

    /** The board of a region. */
    static class Board {
        String cursor;
        Map<String, Event> events = new HashMap<>();
        Incoming incoming;
        /** The number of feeds since a resync was requested, until it is answered. */
        Integer asked;
    }

    interface Handler {
        void take(JSONObject payload) throws JSONException;
    }

    /** Used only on the library's event thread. */
    final Map<String, Board> boards = new HashMap<>();
    final Map<String, String> auth = new HashMap<>();
    /** The ids of the alerts that came. */
    final Set<String> alerts = new HashSet<>();
    final Map<String, String> settings;
    final Socket socket;
    long wait = 1_000;

    public static void main(String[] arguments) {
        Map<String, String> settings = new HashMap<>(Map.of("--url", "http://127.0.0.1:8080"));
        for (int at = 0; at + 1 < arguments.length; at += 2) settings.put(arguments[at], arguments[at + 1]);
        new Mirror(settings).run();
    }

    Mirror(Map<String, String> settings) {
        this.settings = settings;
        // The library only sends strings here; the gateway accepts JSON in them.
        auth.put("v", "1");
        if (settings.containsKey("--token")) auth.put("token", settings.get("--token"));
        if (settings.containsKey("--regions")) {
            auth.put("regions", new JSONArray(List.of(settings.get("--regions").split(","))).toString());
        }
        var options = new IO.Options();
        options.auth = auth;
        // By default the library starts with polling and upgrades to websocket.
        if (settings.containsKey("--transport")) options.transports = new String[] {settings.get("--transport")};
        socket = IO.socket(URI.create(settings.get("--url")), options);
    }

    void run() {
        on("subscriptions", this::subscribed);
        on("snapshot", this::snapshot);
        on("odds", this::odds);
        on("feed", this::feed);
        on("alert", this::alert);
        on("bye", this::bye);
        socket.on(Socket.EVENT_CONNECT, nothing -> connected());
        socket.on(Socket.EVENT_DISCONNECT, reason -> disconnected(reason[0]));
        socket.on(Socket.EVENT_CONNECT_ERROR, error -> notConnected(error[0]));
        socket.connect();
        if (settings.containsKey("--every")) {
            var period = Math.round(1_000 * Double.parseDouble(settings.get("--every")));
            TIMER.schedule(task(this::printBoards), period, period);
        }
    }

    void on(String event, Handler handler) {
        socket.on(event, arguments -> {
            try {
                handler.take((JSONObject) arguments[0]);
            } catch (JSONException error) {
                throw new IllegalStateException(event, error);
            }
        });
    }

    void subscribed(JSONObject payload) throws JSONException {
        List<String> regions = new ArrayList<>();
        var listed = payload.getJSONArray("regions");
        for (int at = 0; at < listed.length(); at++) regions.add(listed.getString(at));
        boards.keySet().retainAll(regions);
        for (var region : regions) boards.putIfAbsent(region, new Board());
    }

    void snapshot(JSONObject payload) throws JSONException {
        var region = payload.getString("region");
        var board = boards.get(region);
        if (board == null) return;
        var cursor = payload.getString("cursor");
        var part = payload.optInt("part", 1);
        if (part == 1) {
            board.incoming = new Incoming(cursor);
            board.asked = null;
        }
        var incoming = board.incoming;
        if (incoming == null || !incoming.cursor.equals(cursor) || part != incoming.part + 1) {
            outOfStep(region, board);
            return;
        }
        apply(incoming.events, payload.getJSONArray("events"));
        incoming.part = part;
        // The old board stays until the new one is complete.
        if (part < payload.optInt("parts", 1)) return;
        board.events = incoming.events;
        board.incoming = null;
        moved(region, board, cursor);
    }

    void odds(JSONObject payload) throws JSONException {
        var region = payload.getString("region");
        var board = boards.get(region);
        if (board == null) return;
        if (!payload.getString("prev").equals(board.cursor)) {
            outOfStep(region, board);
            return;
        }
        apply(board.events, payload.getJSONArray("events"));
        board.asked = null;
        moved(region, board, payload.getString("cursor"));
    }

    void apply(Map<String, Event> events, JSONArray changes) throws JSONException {
        for (int at = 0; at < changes.length(); at++) {
            var change = changes.getJSONObject(at);
            var id = change.getString("id");
            if (change.optBoolean("removed")) {
                events.remove(id);
                continue;
            }
            var event = events.computeIfAbsent(id, it -> new Event(new JSONObject(), new HashMap<>()));
            for (var field : JSONObject.getNames(change)) {
                if (!field.equals("quotes")) event.details.put(field, change.get(field));
            }
            var quotes = change.getJSONArray("quotes");
            for (int of = 0; of < quotes.length(); of++) {
                var quote = quotes.getJSONObject(of);
                var key = quote.getString("bookmaker") + " " + quote.getString("market");
                if (quote.getJSONArray("outcomes").length() > 0) event.quotes.put(key, quote);
                else event.quotes.remove(key);
            }
        }
    }

    void moved(String region, Board board, String cursor) {
        board.cursor = cursor;
        if (settings.containsKey("--every")) return;
        var quotes = board.events.values().stream().mapToInt(event -> event.quotes.size()).sum();
        System.out.println(region + " " + cursor + ": " + board.events.size() + " events, " + quotes + " quotes");
    }

    void feed(JSONObject payload) throws JSONException {
        var region = payload.getString("region");
        System.err.println(region + ": " + payload.getString("state") + ", from " + payload.getString("source"));
        var board = boards.get(region);
        if (board == null) return;
        // Over long polling, a frame can be lost, and also a request or its answer.
        if (board.asked == null) {
            if (payload.has("cursor") && !payload.getString("cursor").equals(board.cursor)) outOfStep(region, board);
        } else if (++board.asked == 2) {
            resync(region, board);
        }
    }

    void outOfStep(String region, Board board) throws JSONException {
        board.incoming = null;
        // While a resync is open, a frame that doesn't fit was sent before the answer.
        if (board.asked == null) resync(region, board);
    }

    void resync(String region, Board board) throws JSONException {
        board.asked = 0;
        socket.emit("resync", new JSONObject().put("region", region).putOpt("cursor", board.cursor));
    }

    void connected() {
        wait = 1_000;
        // Nothing that the previous connection left unfinished will be continued.
        for (var board : boards.values()) {
            board.incoming = null;
            board.asked = null;
        }
    }

    void disconnected(Object reason) {
        System.err.println("disconnected: " + reason);
        Map<String, String> cursors = new HashMap<>();
        boards.forEach((region, board) -> cursors.put(region, board.cursor));
        auth.put("resume", new JSONObject(cursors).toString());
        // In all other cases the library reconnects by itself, or we left on purpose.
        if (reason.equals("io server disconnect")) in(wait, socket::connect);
    }

    void alert(JSONObject payload) throws JSONException {
        // After a reconnect, one may come again.
        if (!alerts.add(payload.getString("id"))) return;
        auth.put("alerts", payload.getString("id"));
        System.err.println("alert: " + payload);
    }

    void bye(JSONObject payload) throws JSONException {
        System.err.println("bye: " + payload.getString("code") + ": " + payload.getString("message"));
        if (payload.isNull("retry_after_ms")) System.exit(1);
        socket.disconnect();
        in(payload.getLong("retry_after_ms"), socket::connect);
    }

    void notConnected(Object error) {
        System.err.println("not connected: " + error);
        // The library retries by itself if the gateway can't be reached, but not if the gateway refused.
        if (!(error instanceof JSONObject refusal)) return;
        if (!TEMPORARY.contains(refusal.optString("message").split(":")[0])) System.exit(1);
        in(wait, socket::connect);
        wait = Math.min(2 * wait, 30_000);
    }

    void printBoards() {
        try {
            for (var region : boards.keySet()) {
                var board = boards.get(region);
                if (board.cursor == null) continue;
                var events = new JSONArray();
                for (var event : board.events.values()) {
                    var plain = new JSONObject(event.details, JSONObject.getNames(event.details));
                    events.put(plain.put("quotes", new JSONArray(event.quotes.values())));
                }
                var line = new JSONObject().put("region", region).put("cursor", board.cursor).put("events", events);
                System.out.println(line);
            }
        } catch (JSONException error) {
            throw new IllegalStateException(error);
        }
    }

    static void in(long milliseconds, Runnable run) {
        TIMER.schedule(task(run), milliseconds);
    }

    static TimerTask task(Runnable run) {
        return new TimerTask() {
            @Override
            public void run() {
                EventThread.exec(run);
            }
        };
    }
}
