import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import java.util.List;

/** Serves a database file on a loopback port, as MongoDB 5, the oldest version that the driver supports. */
public class Mongo {
    public static void main(String[] arguments) {
        var five = new MongoVersion() {
            @Override
            public List<Integer> getVersionArray() {
                return List.of(5, 0, 0, 0);
            }

            @Override
            public int getWireVersion() {
                return 13;
            }
        };
        var server = new MongoServer(new H2Backend(arguments[1]).version(five));
        // What was acknowledged may not be in the file yet.
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdown));
        server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    }
}
