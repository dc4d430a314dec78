import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import java.util.List;
import org.h2.mvstore.MVStore;

/** Serves a database file on a loopback port, as MongoDB 5, the oldest version that the driver supports. */
public class Mongo {
    /** In megabytes. It has few indexes, so it reads whole collections; with its 16 MB, it would decode them each time. */
    private static final int CACHE = 256;

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
        var store = new MVStore.Builder().fileName(arguments[1]).cacheSize(CACHE).open();
        var server = new MongoServer(new H2Backend(store).version(five));
        // What was acknowledged may not be in the file yet.
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdown));
        server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    }
}
