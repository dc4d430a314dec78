import io.socket.client.IO;
import io.socket.client.Socket;
import java.net.URI;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/**
 * Connects TIMES times, one after the other, and prints each connection's first board of each region as one line
 * of JSON in the format of GET /api/odds/{region}.
 *
 * <pre>java -cp … Connects.java URL TOKEN REGIONS TIMES [TRANSPORT]</pre>
 */
public class Connects {
    public static void main(String[] arguments) throws Exception {
        var regions = List.of(arguments[2].split(","));
        for (int time = 0; time < Integer.parseInt(arguments[3]); time++) {
            var options = new IO.Options();
            options.forceNew = true;
            options.auth = Map.of("token", arguments[1], "regions", new JSONArray(regions).toString());
            if (arguments.length > 4) options.transports = new String[] {arguments[4]};
            for (var board : connect(IO.socket(URI.create(arguments[0]), options), regions.size())) {
                System.out.println(board);
            }
        }
        System.exit(0);
    }

    static List<JSONObject> connect(Socket socket, int regions) throws Exception {
        var boards = new ArrayList<JSONObject>();
        var parts = new HashMap<String, JSONArray>();
        var whole = new CompletableFuture<List<JSONObject>>();
        socket.on(Socket.EVENT_CONNECT_ERROR, error -> System.err.println("not connected: " + error[0]));
        socket.on(Socket.EVENT_DISCONNECT, reason -> System.err.println("disconnected: " + reason[0]));
        socket.on("snapshot", arguments -> {
            try {
                take((JSONObject) arguments[0], parts, boards);
            } catch (JSONException error) {
                whole.completeExceptionally(error);
            }
            if (boards.size() == regions) whole.complete(List.copyOf(boards));
        });
        socket.connect();
        var first = whole.get();
        socket.disconnect();
        return first;
    }

    static void take(JSONObject snapshot, Map<String, JSONArray> parts, List<JSONObject> boards) throws JSONException {
        var region = snapshot.getString("region");
        var part = snapshot.optInt("part", 1);
        if (part == 1) parts.put(region, new JSONArray());
        var events = snapshot.getJSONArray("events");
        for (int at = 0; at < events.length(); at++) parts.get(region).put(events.get(at));
        if (part < snapshot.optInt("parts", 1)) return;
        var board = new JSONObject().put("region", region).put("cursor", snapshot.getString("cursor"));
        boards.add(board.put("events", parts.get(region)));
    }
}
