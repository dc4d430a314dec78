import de.bwaldvogel.mongo.MongoCollection;
import de.bwaldvogel.mongo.MongoDatabase;
import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.MongoVersion;
import de.bwaldvogel.mongo.backend.CollectionOptions;
import de.bwaldvogel.mongo.backend.CursorRegistry;
import de.bwaldvogel.mongo.backend.EmptyIndex;
import de.bwaldvogel.mongo.backend.Index;
import de.bwaldvogel.mongo.backend.IndexKey;
import de.bwaldvogel.mongo.backend.Missing;
import de.bwaldvogel.mongo.backend.QueryResult;
import de.bwaldvogel.mongo.backend.Utils;
import de.bwaldvogel.mongo.backend.ValueComparator;
import de.bwaldvogel.mongo.backend.h2.H2Backend;
import de.bwaldvogel.mongo.backend.h2.H2Collection;
import de.bwaldvogel.mongo.backend.h2.H2Database;
import de.bwaldvogel.mongo.bson.Document;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.LongAdder;
import java.util.stream.Stream;
import org.h2.mvstore.MVStore;

/**
 * Serves a database file on a loopback port, as MongoDB 5, the oldest version that the driver supports.
 *
 * <p>The library uses an index only if it is unique and a query names exactly its fields. MongoDB finds documents by
 * their id whatever else a query demands, and keeps the other indexes, too. So does this, as far as our queries need it.
 */
public class Mongo {
    /** In megabytes. Some queries read whole collections, which H2's default of 16 MB would decode each time. */
    private static final int CACHE = 256;

    private static MVStore store;

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
        store = new MVStore.Builder().fileName(arguments[1]).cacheSize(CACHE).open();
        var server = new MongoServer(new Backend().version(five));
        // What was acknowledged may not be in the file yet.
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdown));
        server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
    }

    /** The strings that the query accepts for the field, or null if its condition is of another kind. */
    private static Collection<?> wanted(Document query, String field) {
        var value = query.get(field);
        if (value instanceof Document condition && condition.keySet().equals(Set.of("$in"))) {
            value = condition.get("$in");
        } else if (value != null) {
            value = List.of(value);
        }
        return value instanceof Collection<?> texts && texts.stream().allMatch(String.class::isInstance) ? texts : null;
    }

    private static class Backend extends H2Backend {
        Backend() {
            super(store);
        }

        @Override
        protected MongoDatabase openOrCreateDatabase(String name) {
            return new Database(name, getCursorRegistry());
        }
    }

    private static class Database extends H2Database {
        Database(String name, CursorRegistry cursors) {
            super(name, store, cursors);
        }

        @Override
        protected MongoCollection<Object> openOrCreateCollection(String name, CollectionOptions options) {
            return new Documents(this, name, options, cursorRegistry);
        }

        @Override
        protected Index<Object> openOrCreateSecondaryIndex(
            String collection, String name, List<IndexKey> keys, boolean sparse
        ) {
            return new FirstField(name, keys);
        }
    }

    /** A collection that finds documents by their id whatever else is demanded of them. */
    private static class Documents extends H2Collection {
        Documents(Database database, String name, CollectionOptions options, CursorRegistry cursors) {
            super(
                database,
                name,
                options,
                store.openMap("databases." + database.getDatabaseName() + "." + name),
                store.openMap("meta." + database.getDatabaseName() + "." + name),
                cursors
            );
        }

        @Override
        protected QueryResult queryDocuments(
            Document query, Document order, int skip, int limit, int batch, Document fields
        ) {
            var ids = getIdField() == null ? null : wanted(query, getIdField());
            if (ids == null) {
                return super.queryDocuments(query, order, skip, limit, batch, fields);
            }
            var sorted = ids.stream().map(Object.class::cast).distinct().sorted().toList();
            var known = sorted.stream().filter(id -> getDocument(id) != null).toList();
            return matchDocuments(query, known, order, skip, limit, batch, fields);
        }

        /** The library doesn't expect others to write while it fills an index. */
        @Override
        public synchronized void addIndex(Index<Object> index) {
            super.addIndex(index);
        }
    }

    /** An index that isn't unique: by the strings in its first field. It is in memory, and made anew at start. */
    private static class FirstField extends EmptyIndex<Object> {
        private final String field;
        private final Map<Object, Set<Object>> ids = new ConcurrentHashMap<>();
        private final LongAdder size = new LongAdder();

        FirstField(String name, List<IndexKey> keys) {
            super(name, keys);
            field = keys.get(0).getKey();
        }

        private Stream<?> strings(Document document) {
            var value = Utils.getSubdocumentValueCollectionAware(document, field);
            var values = value instanceof Collection<?> several ? several.stream() : Stream.of(value);
            return values.filter(String.class::isInstance);
        }

        @Override
        public void add(Document document, Object id, MongoCollection<Object> collection) {
            strings(document).forEach(string -> ids.compute(string, (it, known) -> {
                var found = known == null ? ConcurrentHashMap.newKeySet() : known;
                if (found.add(Missing.ofNullable(id))) {
                    size.increment();
                }
                return found;
            }));
        }

        @Override
        public Object remove(Document document) {
            strings(document).forEach(string -> ids.computeIfPresent(string, (it, found) -> {
                if (found.remove(Missing.ofNullable(document.get("_id")))) {
                    size.decrement();
                }
                return found.isEmpty() ? null : found;
            }));
            return null;
        }

        @Override
        public void updateInPlace(Document before, Document after, Object id, MongoCollection<Object> collection) {
            remove(before);
            add(after, id, collection);
        }

        private Stream<Set<Object>> found(Document query) {
            return wanted(query, field).stream().map(string -> ids.getOrDefault(string, Set.of()));
        }

        /** Not if it would give most documents: then reading all of them is faster. */
        @Override
        public boolean canHandle(Document query) {
            return wanted(query, field) != null && 2 * found(query).mapToLong(Set::size).sum() <= size.sum();
        }

        @Override
        public Iterable<Object> getPositions(Document query) {
            return found(query).flatMap(Set::stream).distinct().sorted(ValueComparator.asc()).toList();
        }

        @Override
        public long getCount() {
            return size.sum();
        }
    }
}
